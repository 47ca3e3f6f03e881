"""GVM: more rollouts for the problems whose gradient is uncertain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from laconic.errors import RecipeError
from laconic.policy import Card, knobs
from laconic.training.advantages import group_advantages
from laconic.training.group import Group
from laconic.training.plans.base import Plan, Planned, Step


@knobs
class GVM(Plan):
    """A few pilot rollouts say how uncertain each problem's gradient is; all others go where it is most so.

    Source: GVM-RAFT (gradient variance minimization), as described in the paper: with ``p`` the share of right pilots
    and ``G`` the norm of the gradient of a right one's log-probability, a problem's share of the rollouts is
    proportional to ``G / sqrt(p + penalty / p^(power - 1))``; the penalty keeps problems that are never right from
    taking all. The norm is that of the output layer alone, on average over the right pilots (over all pilots where none
    is right), and ``p = 0`` counts as half a rollout: both this project's readings. Pilots are learned from as well.

    Advantages are GRPO's within a group, times the groups' mean size by the group's own: more rollouts make a problem's
    part in the gradient less noisy, not larger. (The loss divides by the rollouts or tokens of the step.)
    Trap: made for rejection sampling, where right rollouts teach whatever the others are. Under GRPO a problem that is
    always right teaches nothing with rewards of 0 and 1, and has its share of the rollouts all the same.
    """

    card = Card(paper="Optimizing Chain-of-Thought Reasoners via Gradient Variance Minimization (GVM-RAFT)",
                lossless=False, catalogue=(122,))  # fmt: skip

    pilots: Annotated[int, Field(ge=1)] = 2
    """Rollouts of each problem by which the others are shared out."""
    penalty: Annotated[float, Field(ge=0)] = 1e-3
    """``a`` of the paper."""
    power: Annotated[float, Field(ge=1)] = 2.0
    """``b`` of the paper."""

    def check(self, size: int, limit: int) -> None:
        """See the base."""
        if self.pilots >= size:
            raise RecipeError(
                f"'{self.name}' has nothing left to share out: {self.pilots} pilots of {size} rollouts.",
                "Lower pilots, or raise rollouts.generations.",
            )

    def rollouts(self, step: Step) -> list[Planned]:
        """See the class."""
        problems = [at for at in range(len(step.asked)) for _ in range(self.pilots)]
        first = step.run([step.request(at, (), step.limit) for at in problems], problems, 0)
        groups: list[list[tuple[int, ...]]] = [[] for _ in step.asked]
        for at, result in zip(problems, first, strict=True):
            groups[at].append(tuple(result.tokens))
        weights = [self._weight(step, at, pilots) for at, pilots in enumerate(groups)]
        more = shared_out((step.size - self.pilots) * len(groups), weights)
        problems = [at for at, often in enumerate(more) for _ in range(often)]
        rest = step.run([step.request(at, (), step.limit) for at in problems], problems, 1)
        for at, result in zip(problems, rest, strict=True):
            groups[at].append(tuple(result.tokens))
        return [Planned(at, step.asked[at].prompt, each) for at, group in enumerate(groups) for each in group]

    def _weight(self, step: Step, problem: int, pilots: Sequence[tuple[int, ...]]) -> float:
        right = [each for each in pilots if step.right(problem, each)]
        share = max(len(right), 0.5) / len(pilots)
        norms = [step.gradient(problem, each) for each in right or pilots]
        return sum(norms) / len(norms) / math.sqrt(share + self.penalty / share ** (self.power - 1))

    def step_advantages(self, groups: Sequence[Group], rewards: Sequence[Sequence[float]]) -> list[list[float]]:
        """See the class."""
        middle = sum(map(len, groups)) / len(groups)
        return [
            [value * middle / len(group) for value in group_advantages(given)]
            for group, given in zip(groups, rewards, strict=True)
        ]


def shared_out(total: int, weights: Sequence[float]) -> list[int]:
    """``total`` in whole parts that are proportional to ``weights``, as near as can be (largest remainders).

    >>> shared_out(10, [1.0, 1.0, 2.0]), shared_out(3, [0.0, 0.0])
    ([3, 2, 5], [2, 1])
    """
    whole = math.fsum(weights)
    ideal = [total * (weight / whole if whole else 1 / len(weights)) for weight in weights]
    parts = [math.floor(each) for each in ideal]
    order = sorted(range(len(parts)), key=lambda at: parts[at] - ideal[at])
    for at in order[: total - sum(parts)]:
        parts[at] += 1
    return parts
