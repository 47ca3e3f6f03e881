"""Try several draft lengths and keep to those that write the most tokens a second."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from laconic.policy import Card, knobs
from laconic.speculation.base import Context, LengthPolicy, Verdict
from laconic.speculation.pace import Pace


@dataclass(slots=True)
class Arms:
    """What every arm has brought, over all requests."""

    pulls: list[int]
    tokens: list[float]
    seconds: list[float]
    weights: list[float]
    """Logarithms of the weights of EXP3."""
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    lock: Lock = field(default_factory=Lock)

    def rate(self, arm: int) -> float:
        """Tokens a second of one arm."""
        return self.tokens[arm] / self.seconds[arm] if self.seconds[arm] else 0.0


@dataclass(slots=True)
class Turn:
    """State of one request: the arm of this round, and how likely it was chosen."""

    arm: int = 0
    chance: float = 1.0


@knobs
class Bandit(LengthPolicy):
    """A multi-armed bandit over fixed draft lengths; an arm's reward is the tokens a second of its rounds.

    Source: BanditSpec. ``ucb`` pulls the arm with the highest upper confidence bound: its rate over that of the best
    arm, plus ``exploration * sqrt(2 ln t / n)`` with n the pulls of *that arm* (the authors' code divides by the sum
    of all arms' pulls, which adds the same to each). ``exp3`` draws arms by exponential weights of their
    importance-weighted rewards, which also serves where the best arm changes. What arms have brought is shared by all
    requests. Rates are ratios of sums, tokens over seconds, since an average of single rounds' rates would favour arms
    that vary.
    """

    card = Card(paper="BanditSpec", lossless=True, timed=True, catalogue=(57,))

    algorithm: Literal["ucb", "exp3"] = "ucb"
    """How arms are chosen."""
    arms: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 2, 4, 8, 16, 32)
    """Draft lengths to choose from, tokens; written 1/2/4."""
    exploration: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.2
    """``ucb``: weight of the confidence term. ``exp3``: share of rounds that draw an arm evenly."""
    learning: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.05
    """``exp3``: learning rate of the weights."""

    @pydantic.field_validator("arms", mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        return tuple(given.split("/")) if isinstance(given, str) else given

    @cached_property
    def _shared(self) -> Arms:
        zeros = [0.0] * len(self.arms)
        return Arms([0] * len(zeros), list(zeros), list(zeros), list(zeros))

    def start(self, context: Context, pace: Pace) -> Turn:
        """Nothing of its own to begin with."""
        return Turn()

    def budget(self, state: Turn) -> int:
        """The length of the arm whose turn it is."""
        shared = self._shared
        with shared.lock:
            state.arm, state.chance = self._by_bound(shared) if self.algorithm == "ucb" else self._by_weight(shared)
        return self.arms[state.arm]

    def observe(self, state: Turn, verdict: Verdict, seconds: float) -> None:
        """Credit the arm."""
        shared, arm, written = self._shared, state.arm, verdict.accepted + 1
        with shared.lock:
            shared.pulls[arm] += 1
            shared.tokens[arm] += written
            shared.seconds[arm] += seconds
            if self.algorithm == "exp3" and seconds > 0:
                best = max(shared.rate(i) for i in range(len(self.arms)))
                reward = min(1.0, written / seconds / best) if best else 0.0
                shared.weights[arm] += self.learning * reward / state.chance
                top = max(shared.weights)
                shared.weights = [weight - top for weight in shared.weights]

    def _by_bound(self, shared: Arms) -> tuple[int, float]:
        untried = [arm for arm, pulls in enumerate(shared.pulls) if not pulls]
        if untried:
            return untried[0], 1.0
        best = max(shared.rate(arm) for arm in range(len(self.arms))) or 1.0
        time = sum(shared.pulls)

        def bound(arm: int) -> float:
            return shared.rate(arm) / best + self.exploration * math.sqrt(2 * math.log(time) / shared.pulls[arm])

        return max(range(len(self.arms)), key=bound), 1.0

    def _by_weight(self, shared: Arms) -> tuple[int, float]:
        weights = [math.exp(weight) for weight in shared.weights]
        total, even = sum(weights), min(1.0, self.exploration) / len(weights)
        chances = [(1 - min(1.0, self.exploration)) * weight / total + even for weight in weights]
        arm = shared.rng.choices(range(len(chances)), chances)[0]
        return arm, chances[arm]
