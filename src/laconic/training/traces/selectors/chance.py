"""A random subset: the baseline of every selection."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.training.traces.base import Fact, Selector, room


@knobs
class RandomSubset(Selector):
    """A ``share`` of the rows at random, in the order in which they came.

    The baseline that a selection by anything else must beat at the same number of rows.
    """

    card = Card(paper="baseline", lossless=False)

    share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of the rows that is kept; one row at least."""

    def choose(self, facts: Sequence[Fact], random: random.Random) -> list[int]:
        """Without putting back."""
        return sorted(random.sample(range(len(facts)), room(len(facts), self.share)))
