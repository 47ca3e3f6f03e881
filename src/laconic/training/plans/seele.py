"""SEELE: so much of a solution is given that about half of the rollouts come out right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Annotated

from pydantic import Field

from laconic.errors import RecipeError
from laconic.policy import Card, knobs
from laconic.training.advantages import group_advantages
from laconic.training.group import Group
from laconic.training.plans.base import Plan, Planned, Step

_SLOPES = (2.0, 4.0, 8.0, 16.0)
_PLACES = tuple(at / 10 for at in range(-10, 11))
"""A whole solution is taken to be enough for an even chance."""
_FLOORS = (0.0, 0.1, 0.2, 0.3)
_SHARES = tuple(at / 20 for at in range(20))
"""Shares of a solution that may be given: never all of it."""


@knobs
class SEELE(Plan):
    """Rollouts begin with a part of the problem's solution, as long as it takes to be right about half of the time.

    Source: Staying in the Sweet Spot (SEELE), as described in the paper: what a group can teach is bounded by the
    product of its shares of right and wrong rollouts, largest at one half. The group is sampled in ``rounds``, the
    first without a hint; after each a logistic curve of three parameters (item response theory) is fitted to what came
    of the hints so far (:func:`chosen`), and gives the next. The paper puts the hint behind the problem; that it is the
    beginning of the thought here, that the curve is averaged over a grid of its parameters rather than fitted to a
    point, and that rollouts are compared only with those that had the same hint, are this project's readings: a hint is
    no merit of the model's.
    A problem without a solution has rollouts without a hint. Hints are not learned from.
    Trap: thoughts that begin with a hint have fewer tokens of their own. Rewards that hold a rollout against the
    lengths of its whole group (kimi, arora-zanette) compare across hints; those that remember lengths are refused.
    """

    card = Card(paper="Staying in the Sweet Spot (SEELE)", lossless=False, catalogue=(203,))
    solutions = True
    prompted = True

    rounds: Annotated[int, Field(ge=2)] = 2
    """Parts in which a group is sampled; a group must be a multiple of it, by two at least."""
    target: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of right rollouts that hints aim at."""

    def check(self, size: int, limit: int) -> None:
        """See the base."""
        if size % self.rounds or size < 2 * self.rounds:
            raise RecipeError(
                f"'{self.name}' cannot part {size} rollouts into {self.rounds} rounds of two or more.",
                "Make rollouts.generations a multiple of twice the rounds.",
            )

    def rollouts(self, step: Step) -> list[Planned]:
        """See the class."""
        places = [step.words(at) for at in range(len(step.asked))]
        seen: list[list[tuple[float, bool]]] = [[] for _ in places]
        made: list[list[Planned]] = [[] for _ in places]
        problems = [at for at in range(len(places)) for _ in range(step.size // self.rounds)]
        for part in range(self.rounds):
            shares = [chosen(tried, self.target) if places[at] else 0.0 for at, tried in enumerate(seen)]
            told = [self._told(step, at, places[at], share) for at, share in enumerate(shares)]
            found = step.run([step.request(at, told[at], step.limit) for at in problems], problems, part)
            for at, result in zip(problems, found, strict=True):
                seen[at].append((shares[at], step.right(at, (*told[at], *result.tokens))))
                prompt = (*step.asked[at].prompt, *told[at])
                made[at].append(Planned(at, prompt, tuple(result.tokens), hint=len(told[at])))
        return [each for of_problem in made for each in of_problem]

    def _told(self, step: Step, problem: int, places: Sequence[int], share: float) -> tuple[int, ...]:
        inside = math.floor(share * len(places))
        return step.solution(problem)[: places[inside - 1]] if inside else ()

    def step_advantages(self, groups: Sequence[Group], rewards: Sequence[Sequence[float]]) -> list[list[float]]:
        """GRPO's within the rollouts of a group that had the same hint."""
        return [self._within([each.hint or 0 for each in g.rollouts], r) for g, r in zip(groups, rewards, strict=True)]

    def _within(self, hints: Sequence[int], rewards: Sequence[float]) -> list[float]:
        found = [0.0] * len(hints)
        for hint in set(hints):
            rows = [at for at, other in enumerate(hints) if other == hint]
            for at, value in zip(rows, group_advantages([rewards[row] for row in rows]), strict=True):
                found[at] = value
        return found


def chosen(tried: Sequence[tuple[float, bool]], target: float) -> float:
    """The share of a solution to give next, from shares that were tried and whether the rollouts were right.

    ``P(right | share) = c + (1 - c) / (1 + exp(-a (share - b)))``, averaged over a grid of slope ``a``, place ``b``
    and floor ``c`` with the likelihood of what was tried as weight; of the shares the smallest whose average is nearest
    to ``target``, to within a hundredth. 0 before anything was tried.

    >>> chosen([], 0.5), chosen([(0.0, True)] * 4, 0.5), chosen([(0.0, False)] * 4, 0.5) > 0.3
    (0.0, 0.0, True)
    """
    if not tried:
        return 0.0
    curves = [(a, b, c) for a, b, c in product(_SLOPES, _PLACES, _FLOORS)]
    logs = [sum(math.log(_tell(_curve(*each, share), right)) for share, right in tried) for each in curves]
    weights = [math.exp(value - max(logs)) for value in logs]
    whole = math.fsum(weights)
    off = [
        abs(math.fsum(w * _curve(*each, share) for w, each in zip(weights, curves, strict=True)) / whole - target)
        for share in _SHARES
    ]
    return next(share for share, value in zip(_SHARES, off, strict=True) if value <= min(off) + 0.01)


def _curve(slope: float, place: float, floor: float, share: float) -> float:
    return floor + (1 - floor) / (1 + math.exp(-slope * (share - place)))


def _tell(likely: float, right: bool) -> float:
    return min(max(likely if right else 1 - likely, 1e-9), 1.0)
