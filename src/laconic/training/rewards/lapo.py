"""LAPO: first the usual length of right rollouts, then the length that the model declares."""

from __future__ import annotations

import math
from statistics import median
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.training.base import Reward
from laconic.training.group import Group
from laconic.training.rewards.shared import lengths, present, quantile, right_lengths, rights


@knobs
class LAPODiscovery(Reward):
    """First stage: right rollouts whose length is usual among the right ones get ``weight`` more; wrong ones get 0.

    Source: LAPO; percentiles, decay and weight are those of the authors' code. Inside the band from the ``low`` to the
    ``high`` quantile of right lengths the length reward is 1, outside it falls to 0 within ``fade`` tokens. It is 0
    for all where the band has no width. The median of right lengths is kept for the second stage (:meth:`remember`).
    Trap: right rollouts that are shorter than usual are punished just as longer ones are.
    """

    card = Card(paper="LAPO (discovery stage)", lossless=False, catalogue=(72,))

    weight: Annotated[float, Field(ge=0)] = 0.7
    """What the length reward counts."""
    low: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Where the band begins, as a quantile."""
    high: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Where it ends."""
    fade: Annotated[float, Field(gt=0)] = 100.0
    """Tokens outside the band over which the length reward falls to 0."""

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        known, right = right_lengths(group), rights(group)
        if not known:
            return [0.0] * len(group)
        begin, end = quantile(known, self.low), quantile(known, self.high)
        outside = [max(begin - length, length - end, 0.0) for length in lengths(group)]
        shaped = [max(0.0, 1 - off / self.fade) if begin < end else 0.0 for off in outside]
        return [1 + self.weight * g if ok else 0.0 for g, ok in zip(shaped, right, strict=True)]

    def remember(self, group: Group) -> float | None:
        """The median length of this group's right rollouts; what was kept where there are none."""
        known = right_lengths(group)
        return median(known) if known else group.reference


@knobs
class LAPOInternalization(Reward):
    """Second stage: right rollouts get ``1 + weight * exp(-(L - n)^2 / (2 width^2))``, wrong ones 0.

    Source: LAPO; weight, width and words are those of the authors' code. ``n`` is the group's ``reference``: the median
    kept from the first stage, put into the thought by :meth:`hint`, and lowered where the right rollouts of a group
    have a smaller median. A prompt that was never right has none: the median of its own right rollouts stands for it.
    """

    card = Card(paper="LAPO (internalization stage)", lossless=False, catalogue=(72,))
    reads = ("reference",)
    said: ClassVar[Literal["question", "thought"]] = "thought"
    each = False

    weight: Annotated[float, Field(ge=0)] = 0.8
    """What the length reward counts."""
    width: Annotated[float, Field(gt=0)] = 120.0
    """Tokens off at which the length reward has fallen to 0.61."""

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        known, right = right_lengths(group), rights(group)
        if not known:
            return [0.0] * len(group)
        declared = median(known) if group.reference is None else group.reference
        shaped = [math.exp(-((length - declared) ** 2) / (2 * self.width**2)) for length in lengths(group)]
        return [1 + self.weight * g if ok else 0.0 for g, ok in zip(shaped, right, strict=True)]

    def remember(self, group: Group) -> float | None:
        """The smaller of what was kept and the median of this group's right rollouts."""
        known = right_lengths(group)
        kept = [*([median(known)] if known else []), *([] if group.reference is None else [group.reference])]
        return min(kept, default=None)

    def hint(self, group: Group) -> list[str]:
        """The beginning of the thought."""
        declared = present(group.reference, "reference", "group")
        return [f"I will answer the question with {round(declared)} tokens."] * len(group)
