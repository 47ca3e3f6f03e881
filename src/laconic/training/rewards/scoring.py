"""What a reward makes of a group: rewards, advantages, and how often it pushes away from what was right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import laconic.methods  # noqa: F401  (fills the registry)
from laconic.policy import registry
from laconic.training.advantages import group_advantages
from laconic.training.base import Advantages, BatchAdvantages, Reward, checked
from laconic.training.group import Group
from laconic.training.rewards.shared import mean


@dataclass(frozen=True, slots=True)
class Score:
    """One number each for every rollout of a group, in order."""

    rewards: tuple[float, ...]
    advantages: tuple[float, ...]
    right_discouraged: float | None
    """Share of the right rollouts whose advantage is negative: training makes these less likely. None without any."""


def score(reward: Reward | str, group: Group, *, scale: bool = True) -> Score:
    """Score a recorded group by a reward, or by the spec of one.

    Advantages are the method's own where it has some for a group, else GRPO's (:func:`group_advantages`). Those of a
    method that normalises over a batch are told for a batch of this group alone.
    Raises GroupError where the group lacks something, RewardError for rewards that are no finite numbers.

    >>> from laconic.training.group import Rollout
    >>> group = Group((Rollout(100, right=True), Rollout(300, right=True), Rollout(200, right=False)))
    >>> score("kimi:weight=1", group, scale=False).rewards
    (1.5, 0.5, 0.0)
    """
    method = cast(Reward, registry.build("reward", reward))
    rewards = checked(method.name, method.rewards(group), group)
    if isinstance(method, Advantages):
        advantages = method.advantages(group, rewards)
    elif isinstance(method, BatchAdvantages):
        advantages = method.batch_advantages([rewards])[0]
    else:
        advantages = group_advantages(rewards, scale=scale)
    right = [value for value, rollout in zip(advantages, group.rollouts, strict=True) if rollout.right]
    return Score(tuple(rewards), tuple(advantages), mean([value < 0 for value in right]) if right else None)
