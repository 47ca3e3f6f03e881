"""Try several draft lengths and keep to those that write the most tokens a second."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import pydantic
from pydantic import Field

from laconic.policy import Card, knobs
from laconic.speculation.arms import Explorer, Ledger, Pull
from laconic.speculation.base import Context, LengthPolicy, Verdict
from laconic.speculation.pace import Pace


@dataclass(slots=True)
class Turn:
    """State of one request: the arm of this round."""

    pull: Pull


@knobs
class Bandit(Explorer, LengthPolicy):
    """A multi-armed bandit over fixed draft lengths; an arm's reward is the tokens a second of its rounds.

    Source: BanditSpec. ``ucb`` pulls the arm with the highest upper confidence bound: its rate over that of the best
    arm, plus ``exploration * sqrt(2 ln t / n)`` with n the pulls of *that arm* (the authors' code divides by the sum
    of all arms' pulls, which adds the same to each). ``exp3`` draws arms by exponential weights of their
    importance-weighted rewards, which also serves where the best arm changes. What arms have brought is shared by all
    requests. Rates are ratios of sums, tokens over seconds, since an average of single rounds' rates would favour arms
    that vary. ``laconic run`` and ``compare`` report what each length has brought and the regret against the best.

    The drafter of the same name chooses among whole configurations.
    """

    card = Card(paper="BanditSpec", lossless=True, timed=True, catalogue=(57,))

    arms: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 2, 4, 8, 16, 32)
    """Draft lengths to choose from, tokens; written 1/2/4."""

    @pydantic.field_validator("arms", mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        return tuple(given.split("/")) if isinstance(given, str) else given

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger.of(len(self.arms))

    def start(self, context: Context, pace: Pace) -> Turn:
        """Nothing of its own to begin with."""
        return Turn(Pull())

    def budget(self, state: Turn) -> int:
        """The length of the arm whose turn it is."""
        state.pull = self._ledger.choose(self)
        return self.arms[state.pull.arm]

    def observe(self, state: Turn, verdict: Verdict, seconds: float) -> None:
        """Credit the arm."""
        self._ledger.credit(state.pull, verdict.accepted + 1, seconds, self)

    def report(self) -> dict[str, Any] | None:
        """What each length has brought, and the regret against the best of them; see Ledger.report."""
        return self._ledger.report([str(tokens) for tokens in self.arms])
