"""GFPO: sample many, learn from the few that are short."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.training.advantages import group_advantages
from laconic.training.base import Reward, checked
from laconic.training.group import Group
from laconic.training.rewards.shared import first, rights


@knobs
class GFPO(Reward):
    """Outcome rewards, of which only the ``k`` shortest rollouts, or the most rewarded per token, are learned from.

    Source: Sample More to Think Less (GFPO), as described in the paper: mean and deviation are those of the rollouts
    that are kept, and all others have advantage 0. Of equals the earlier in the group are kept. A length of 0 counts as
    1. The variant that sets ``k`` by difficulty is not here.
    Trap: by length alone, short wrong rollouts are kept before long right ones, and where none of the kept is right the
    group teaches nothing. A group is larger than ``k``, or nothing is left out, so sampling costs more than with GRPO.
    """

    card = Card(paper="Sample More to Think Less (GFPO)", lossless=False, catalogue=(60,))

    k: Annotated[int, Field(ge=1)]
    """Rollouts of a group that are learned from."""
    by: Literal["length", "efficiency"] = "length"
    """The shortest, or those with the highest reward per token."""

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        return [float(right) for right in rights(group)]

    def keeps(self, group: Group, rewards: Sequence[float]) -> list[bool]:
        """Which are learned from. Raises GroupError for a group smaller than ``k``."""
        values = checked(self.name, rewards, group)
        tokens = [rollout.tokens for rollout in group.rollouts]
        rank = tokens if self.by == "length" else [-r / max(n, 1) for r, n in zip(values, tokens, strict=True)]
        return first(self.name, self.k, rank)

    def advantages(self, group: Group, rewards: Sequence[float]) -> list[float]:
        """See the class."""
        kept = self.keeps(group, rewards)
        inside = iter(group_advantages([value for value, keep in zip(rewards, kept, strict=True) if keep]))
        return [next(inside) if keep else 0.0 for keep in kept]
