"""Multi-armed bandits, whatever their arms are: what each arm has brought, whose turn it is, and what that has cost."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Annotated, Any, Literal

from pydantic import Field

from laconic.policy import Policy, knobs


@knobs
class Explorer(Policy):
    """The knobs of a bandit."""

    algorithm: Literal["ucb", "exp3"] = "ucb"
    """How arms are chosen."""
    exploration: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.2
    """``ucb``: weight of the confidence term."""
    even: Annotated[float, Field(ge=0, le=1)] = 0.2
    """``exp3``: share of rounds that draw an arm evenly."""
    learning: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.05
    """``exp3``: learning rate of the weights."""


@dataclass(frozen=True, slots=True)
class Pull:
    """The arm of a round, and how likely it was chosen."""

    arm: int = 0
    chance: float = 1.0


@dataclass(slots=True)
class Ledger:
    """What every arm has brought, over all requests; threads may share it.

    ``ucb`` pulls the arm with the highest upper confidence bound: its rate over that of the best arm, plus
    ``exploration`` times its :meth:`bonus`. ``exp3`` draws arms by exponential weights of their importance-weighted
    rewards. Rates are ratios of sums, tokens over seconds, since an average of single rounds' rates would favour arms
    that vary.
    """

    pulls: list[int]
    tokens: list[float]
    seconds: list[float]
    weights: list[float]
    """Logarithms of the weights of EXP3; the largest is 0."""
    cold: set[int]
    """Arms whose first round is yet to come. It enters no number: it sets up what later ones reuse."""
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    lock: Lock = field(default_factory=Lock)

    @classmethod
    def of(cls, arms: int) -> Ledger:
        """An empty ledger for so many arms."""
        return cls([0] * arms, [0.0] * arms, [0.0] * arms, [0.0] * arms, set(range(arms)))

    def rate(self, arm: int) -> float:
        """Tokens a second of one arm; 0 before its first round."""
        return self.tokens[arm] / self.seconds[arm] if self.seconds[arm] else 0.0

    def bonus(self, arm: int) -> float:
        """Half-width of UCB1's interval, ``sqrt(2 ln t / n)``, n being the pulls of *this* arm."""
        return math.sqrt(2 * math.log(sum(self.pulls)) / self.pulls[arm])

    def choose(self, how: Explorer) -> Pull:
        """The arm of the coming round."""
        with self.lock:
            return self._by_bound(how) if how.algorithm == "ucb" else self._by_weight(how)

    def credit(self, pull: Pull, tokens: float, seconds: float, how: Explorer) -> None:
        """Count a round that wrote ``tokens`` in ``seconds``."""
        arm = pull.arm
        with self.lock:
            if arm in self.cold:
                self.cold.remove(arm)
                return
            self.pulls[arm] += 1
            self.tokens[arm] += tokens
            self.seconds[arm] += seconds
            if how.algorithm == "exp3" and seconds > 0:
                best = self._best_rate()
                reward = min(1.0, tokens / seconds / best) if best else 0.0
                self.weights[arm] += how.learning * reward / pull.chance
                top = max(self.weights)
                self.weights = [weight - top for weight in self.weights]

    def report(self, names: Sequence[str]) -> dict[str, Any] | None:
        """Every arm's share, and the regret: seconds that the best arm alone would have saved. None before a round.

        Tokens are what was written, so the best arm would have taken ``tokens / rate`` seconds for them. Its rate is
        the one measured in the rounds in which it was pulled. ``says`` has it in a sentence.
        """
        with self.lock:
            rounds, tokens, seconds = sum(self.pulls), sum(self.tokens), sum(self.seconds)
            if not tokens or not seconds:
                return None
            rates = [self.rate(arm) for arm in range(len(self.pulls))]
            best = max(range(len(rates)), key=rates.__getitem__)
            regret = seconds - tokens / rates[best]
            arms = [
                {"arm": name, "pulls": pulls, "tokens": tokens, "seconds": seconds, "rate": rate}
                for name, pulls, tokens, seconds, rate in zip(
                    names, self.pulls, self.tokens, self.seconds, rates, strict=True
                )
            ]
        shares = ", ".join(f"{arm['arm']} {arm['pulls']} ({arm['rate']:.0f} tokens/s)" for arm in arms)
        return {
            "rounds": rounds,
            "tokens": tokens,
            "seconds": seconds,
            "best": names[best],
            "regret_seconds": regret,
            "regret_share": regret / seconds,
            "arms": arms,
            "says": f"{rounds} rounds: {shares}; regret against {names[best]} alone: {regret:.2f} s, "
            f"{regret / seconds:.1%} of the time",
        }

    def _best_rate(self) -> float:
        return max(self.rate(arm) for arm in range(len(self.pulls)))

    def _by_bound(self, how: Explorer) -> Pull:
        untried = [arm for arm, pulls in enumerate(self.pulls) if not pulls]
        if untried:
            return Pull(untried[0])
        best = self._best_rate() or 1.0

        def bound(arm: int) -> float:
            return self.rate(arm) / best + how.exploration * self.bonus(arm)

        return Pull(max(range(len(self.pulls)), key=bound))

    def _by_weight(self, how: Explorer) -> Pull:
        weights = [math.exp(weight) for weight in self.weights]
        total, even = sum(weights), how.even / len(weights)
        chances = [(1 - how.even) * weight / total + even for weight in weights]
        arm = self.rng.choices(range(len(chances)), chances)[0]
        return Pull(arm, chances[arm])
