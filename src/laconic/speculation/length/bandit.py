"""Try several draft lengths and keep to those that write the most tokens a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import pydantic
from pydantic import Field

from laconic.policy import Card, knobs
from laconic.speculation.arms import Explorer, Ledger, Pull
from laconic.speculation.base import Context, LengthPolicy, Verdict
from laconic.speculation.pace import Pace


@dataclass(slots=True, eq=False)
class Round:
    """One round of all requests that it was asked about: its arm, and what it brought so far."""

    pull: Pull
    awaited: int
    """Requests that have not told their part yet; some never do, where another draft took the place of theirs."""
    tokens: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Turn:
    """State of one request: the round that it is in, or was in last."""

    round: Round | None = None


@knobs
class Bandit(Explorer, LengthPolicy):
    """A multi-armed bandit over fixed draft lengths; an arm's reward is the tokens a second of its rounds.

    Source: BanditSpec. ``ucb`` pulls the arm with the highest upper confidence bound: its rate over that of the best
    arm, plus ``exploration * sqrt(2 ln t / n)`` with n the pulls of *that arm* (the authors' code divides by the sum
    of all arms' pulls, which adds the same to each). ``exp3`` draws arms by exponential weights of their
    importance-weighted rewards, which also serves where the best arm changes. What arms have brought is shared by all
    requests. Rates are ratios of sums, tokens over seconds, since an average of single rounds' rates would favour arms
    that vary. One arm is chosen for all requests of a round, since they share its time, and a round's time is counted
    once. ``laconic run`` and ``compare`` report what each length has brought and the regret against the best.

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

    @cached_property
    def _open(self) -> set[Round]:
        return set()

    def start(self, context: Context, pace: Pace) -> Turn:
        """Nothing of its own to begin with."""
        return Turn()

    def budget(self, state: Turn) -> int:
        """The length of the arm whose turn it is, for a round of this request alone."""
        return self.budgets([state])[0]

    def budgets(self, states: Sequence[Turn]) -> list[int]:
        """The length of the arm whose turn it is, for every request."""
        for state in states:
            if state.round is not None:
                self._close(state.round)
        if not states:
            return []
        turn = Round(self._ledger.choose(self), len(states))
        for state in states:
            state.round = turn
        return [self.arms[turn.pull.arm]] * len(states)

    def observe(self, state: Turn, verdict: Verdict, seconds: float) -> None:
        """Add this request's part to its round; the arm is credited when the round is complete."""
        turn = state.round
        assert turn is not None, "budgets is asked before every round"
        self._open.add(turn)
        turn.tokens += verdict.accepted + 1
        turn.seconds = seconds
        turn.awaited -= 1
        if not turn.awaited:
            self._close(turn)

    def _close(self, turn: Round) -> None:
        if turn in self._open:
            self._open.remove(turn)
            self._ledger.credit(turn.pull, turn.tokens, turn.seconds, self)

    def report(self) -> dict[str, Any] | None:
        """What each length has brought, and the regret against the best of them; see Ledger.report."""
        for turn in list(self._open):
            self._close(turn)
        return self._ledger.report([str(tokens) for tokens in self.arms])
