"""SLPO: shortest and longest of the right rollouts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.training.base import Reward
from laconic.training.group import Group
from laconic.training.rewards.shared import right_lengths, rights


@knobs
class SLPO(Reward):
    """Right rollouts get ``1 + alpha * (max - L) / (max - min)`` over the right ones of the group; wrong ones 0.

    Source: ORION (Shorter Length Preference Optimization), as described in the paper: a single right rollout, and right
    ones that are all equally long, get 1, so that what may have needed its length is not punished.
    Trap: with two right rollouts the longer gets nothing and the shorter everything, however near they are.
    """

    card = Card(paper="ORION (SLPO)", lossless=False, catalogue=(74,))

    alpha: Annotated[float, Field(ge=0)]
    """What being the shortest adds; the authors' value is not confirmed, so give one."""

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        known = right_lengths(group)
        longest, spread = max(known, default=0), max(known, default=0) - min(known, default=0)
        return [
            (1 + self.alpha * ((longest - rollout.tokens) / spread if spread else 0.0)) if right else 0.0
            for rollout, right in zip(group.rollouts, rights(group), strict=True)
        ]
