"""ShorterBetter: as long as the shortest right rollout."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.training.base import Reward
from laconic.training.group import Group
from laconic.training.rewards.shared import lengths, mean, right_lengths, rights


@knobs
class ShorterBetter(Reward):
    """``alpha * right - beta * |L - L0|``, ``L0`` being the length of the shortest right rollout of the group.

    Source: ShorterBetter (sample optimal length), as described in the paper; the constants are those of the authors'
    code. Without any right rollout ``L0`` is the mean length. ``L`` are tokens in all.
    Trap: wrong rollouts are drawn to ``L0`` too, and a wrong one there beats a right one that is more than
    ``alpha / beta`` tokens off (2000). One that is shorter than ``L0`` is punished as one that is longer.
    """

    card = Card(paper="ShorterBetter", lossless=False, catalogue=(71,))
    truthful = False

    alpha: Annotated[float, Field(ge=0)] = 2.0
    """What being right counts."""
    beta: Annotated[float, Field(ge=0)] = 0.001
    """What a token away from ``L0`` costs."""

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        known, all_of_them = right_lengths(group), lengths(group)
        optimal = min(known) if known else mean(all_of_them)
        return [
            self.alpha * right - self.beta * abs(length - optimal)
            for right, length in zip(rights(group), all_of_them, strict=True)
        ]
