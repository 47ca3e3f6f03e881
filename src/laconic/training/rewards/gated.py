"""GRPO-lambda and ConciseR: length counts only where accuracy does not suffer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from laconic.errors import GroupError
from laconic.policy import Card, knobs
from laconic.training.base import Reward, plain
from laconic.training.group import Group
from laconic.training.rewards.shared import accuracy, lengths, limit, rights


@knobs
class GRPOLambda(Reward):
    """The rewards of ``reward`` in the groups of a batch that are right most often, plain 0 and 1 in all others.

    Source: Stable Reinforcement Learning for Efficient Reasoning (GRPO-lambda), as the abstract describes it; that a
    fixed share of a batch is chosen by rank is this project's reading. The groups are ranked by the share of right
    rollouts; of ``n`` groups the first ``ceil(share * n)`` are chosen, and those that tie with the last of them.
    :meth:`rewards` speaks of a batch of one group, which is chosen.
    Trap: a share is chosen however low its accuracy; without a single right rollout the length reward acts alone.
    """

    card = Card(paper="Stable RL for Efficient Reasoning (GRPO-lambda)", lossless=False, catalogue=(6,))

    reward: Reward
    """The length-aware reward of the chosen groups."""
    share: Annotated[float, Field(gt=0, le=1)]
    """Share of the groups that is chosen; the authors' value is not confirmed, so give one."""

    def __post_init__(self) -> None:
        plain(self.name, self.reward)

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        return self.batch_rewards([group])[0]

    def batch_rewards(self, groups: Sequence[Group]) -> list[list[float]]:
        """Rewards of every group of a batch. Raises GroupError for no groups."""
        if not groups:
            raise GroupError("a batch has no groups.", "Give it those of a step.")
        last = sorted(map(accuracy, groups), reverse=True)[math.ceil(self.share * len(groups)) - 1]
        return [
            self.reward.rewards(group) if accuracy(group) >= last else [float(right) for right in rights(group)]
            for group in groups
        ]


@knobs
class ConciseR(Reward):
    """``1 + (1 - L / limit)`` where every rollout of the group is right; else 1 for right and 0 for wrong.

    Source: Walk Before You Run (ConciseR), second stage (L-GRPO), as described in the paper: the share of the context
    that is left is rewarded, and only once nothing is wrong. What it counts beside the outcome does not matter, since
    where it acts all outcomes are the same and GRPO divides by the deviation. Reads the group's ``limit``.
    """

    card = Card(paper="Walk Before You Run (ConciseR)", lossless=False, catalogue=(253,))
    reads = ("limit",)

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        right, most = rights(group), limit(group)
        if not all(right):
            return [float(ok) for ok in right]
        return [1 + (1 - length / most) for length in lengths(group)]
