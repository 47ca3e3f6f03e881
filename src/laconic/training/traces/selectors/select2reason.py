"""Hard problems with long thoughts first."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.training.traces.base import Fact, Selector, room


@knobs
class Select2Reason(Selector):
    """The ``share`` of rows that rank highest by difficulty and length together, the best first.

    Select2Reason: rows are ranked by the difficulty of their problem and by the length of their trace, and the
    weighted sum of both ranks decides. Difficulty is here the share of the problem's recorded traces that are wrong;
    in the authors' code a model is asked. The weight could not be confirmed, so give one. Ranks are shares of the
    rows that come behind, and rows that tie share the middle of theirs. Trap: it selects *for* length, to teach long
    thinking to a model that has none.
    """

    card = Card(paper="Select2Reason", lossless=False, catalogue=(55,))

    weight: Annotated[float, Field(ge=0, le=1)]
    """Weight of difficulty; that of length is the rest."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of the rows that is kept; one row at least."""

    def choose(self, facts: Sequence[Fact], random: random.Random) -> list[int]:
        """The order is that of the joint rank."""
        hard = ranks([1 - (fact.pass_rate or 0.0) for fact in facts])
        long = ranks([float(fact.after) for fact in facts])
        joint = [self.weight * a + (1 - self.weight) * b for a, b in zip(hard, long, strict=True)]
        return sorted(range(len(facts)), key=lambda at: -joint[at])[: room(len(facts), self.share)]


def ranks(values: Sequence[float]) -> list[float]:
    """For each value the share of the others that are smaller, equal ones counted half.

    >>> ranks([3.0, 1.0, 3.0])
    [0.75, 0.0, 0.75]
    """
    order, others = sorted(values), max(len(values) - 1, 1)
    below = {value: at for at, value in reversed(list(enumerate(order)))}
    count = {value: order.count(value) for value in set(values)} if len(set(values)) < len(values) else {}
    return [(below[value] + (count.get(value, 1) - 1) / 2) / others for value in values]
