"""The second stage of a curriculum: only what the model does not reliably solve."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.training.traces.base import Fact, Selector


@knobs
class LightR1(Selector):
    """The rows of problems that at most a share ``at_most`` of the recorded traces solves.

    Light-R1 trains on all rows first (no selection) and then on a small set of the hardest; this is the second set.
    For the authors' way, record with the model that came of the first stage. Their threshold could not be confirmed,
    so give one. Trap: a problem without any right trace has no row to begin with.
    """

    card = Card(paper="Light-R1", lossless=False, catalogue=(198,))

    at_most: Annotated[float, Field(ge=0, lt=1)]
    """Share of right traces that a problem may have."""

    def choose(self, facts: Sequence[Fact], random: random.Random) -> list[int]:
        """In the order in which they came."""
        return [at for at, fact in enumerate(facts) if (fact.pass_rate or 0.0) <= self.at_most]
