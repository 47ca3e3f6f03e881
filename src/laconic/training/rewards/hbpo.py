"""HBPO: subgroups of rollouts with budgets of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.training.advantages import group_advantages
from laconic.training.base import Reward, matched
from laconic.training.group import Group, Rollout
from laconic.training.rewards.shared import budgets, mean, present


@knobs
class HBPO(Reward):
    """A right rollout with budget ``n`` gets ``min(u(L) - |n - L| / 4096, u(n))``, with ``u(x) = 4 cos(pi x / 8192)``.

    Source: Hierarchical Budget Policy Optimization; formula and constants are those of the authors' code. One without a
    budget gets ``u(L)``, a wrong one or one of more than ``longest`` tokens 0, one without a readable answer -1. The
    rollouts of a group are parted into subgroups by budget, each told :meth:`hint` at the beginning of its thought.
    Its advantages (:meth:`advantages`) are GRPO's over the whole group, plus the mean reward of the rollout's subgroup
    minus ``u(n)``; this second part is 0 here for rollouts without a budget. The authors' code adds it twice.
    Trap: a right rollout far from its budget gets less than a wrong one (4000 tokens where 512 were asked for: -0.70).
    """

    card = Card(paper="Hierarchical Budget Policy Optimization (HBPO)", lossless=False, catalogue=(228,))
    reads = ("budget",)
    said: ClassVar[Literal["question", "thought"]] = "thought"
    each = True
    truthful = False

    longest: Annotated[int, Field(ge=1, le=4096)] = 4096
    """Tokens beyond which a right rollout counts as wrong."""

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        return [self._reward(rollout) for rollout in group.rollouts]

    def _reward(self, rollout: Rollout) -> float:
        if not rollout.formatted:
            return -1.0
        if not present(rollout.right, "right") or rollout.tokens > self.longest:
            return 0.0
        if rollout.budget is None:
            return _use(rollout.tokens)
        off = abs(rollout.budget - rollout.tokens)
        return min(_use(rollout.tokens) - off / 4096, _use(rollout.budget))

    def advantages(self, group: Group, rewards: Sequence[float]) -> list[float]:
        """See the class."""
        matched(group, rewards, "rewards")
        subgroups: dict[int | None, list[float]] = {}
        for rollout, reward in zip(group.rollouts, rewards, strict=True):
            subgroups.setdefault(rollout.budget, []).append(reward)
        within = {n: 0.0 if n is None else mean(of_it) - _use(n) for n, of_it in subgroups.items()}
        across = group_advantages(rewards)
        return [value + within[rollout.budget] for value, rollout in zip(across, group.rollouts, strict=True)]

    def hint(self, group: Group) -> list[str]:
        """The beginning of the thought; every rollout needs a budget."""
        return [f"I will answer the question with {n} tokens." for n in budgets(group)]


def _use(tokens: int) -> float:
    """What an answer of so many tokens is worth."""
    return 4 * math.cos(math.pi * tokens / 8192)
