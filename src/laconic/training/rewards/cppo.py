"""CPPO: learn from the rollouts whose advantage is largest in size, and spare the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.training.advantages import group_advantages
from laconic.training.base import Reward, checked, plain
from laconic.training.group import Group
from laconic.training.rewards.shared import first


@knobs
class CPPO(Reward):
    """The rewards of ``reward``; the ``k`` rollouts of a group whose advantage is largest in size are learned from.

    Source: CPPO, as described in the paper: GRPO's advantages over the whole group, of which those that are small in
    size are pruned before the update, which then costs less; here by as much, since rollouts that are left out are not
    computed. Of equals the earlier in the group are kept. That freed places are filled with rollouts of further
    questions is not here: a step is smaller instead.
    Trap: with outcome rewards the few are kept, whichever they are: in a group that is nearly always right those that
    are wrong, and the right ones, whose advantages are all alike, go by their place.
    """

    card = Card(paper="CPPO: Accelerating the Training of Group Relative Policy Optimization", lossless=False,
                catalogue=(150,))  # fmt: skip

    reward: Reward
    """What is rewarded."""
    k: Annotated[int, Field(ge=1)]
    """Rollouts of a group that are learned from."""

    def __post_init__(self) -> None:
        plain(self.name, self.reward)

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        return self.reward.rewards(group)

    def keeps(self, group: Group, rewards: Sequence[float]) -> list[bool]:
        """Which are learned from. Raises GroupError for a group smaller than ``k``."""
        found = group_advantages(checked(self.name, rewards, group))
        return first(self.name, self.k, [-abs(value) for value in found])

    def advantages(self, group: Group, rewards: Sequence[float]) -> list[float]:
        """Those of the whole group, and 0 for all that are left out."""
        kept = self.keeps(group, rewards)
        return [value if keep else 0.0 for value, keep in zip(group_advantages(rewards), kept, strict=True)]
