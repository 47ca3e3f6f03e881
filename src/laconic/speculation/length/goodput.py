"""One draft length for all requests, chosen each round for the most tokens a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.speculation.base import Context, LengthPolicy, Verdict
from laconic.speculation.pace import Pace

_TRY = 64
"""Rounds without a draft after which one token is tried again, to learn whether acceptance has changed."""


@dataclass(slots=True)
class Acceptance:
    """Moving averages of tokens accepted and tokens tested; their ratio is the rate of acceptance."""

    accepted: float = 0.7
    tested: float = 1.0

    def add(self, drafted: int, accepted: int, memory: float) -> None:
        """Count a round: the accepted tokens were tested, and the first refused one."""
        self.accepted = memory * self.accepted + accepted
        self.tested = memory * self.tested + min(accepted + 1, drafted)

    @property
    def rate(self) -> float:
        """Chance that a tested token stands."""
        return self.accepted / self.tested


@dataclass(slots=True)
class Load:
    """State of one request."""

    pace: Pace
    acceptance: Acceptance


@knobs
class Goodput(LengthPolicy):
    """Draft k tokens for every request, the k with the highest expected tokens a second; none where none pays.

    Source: SmartSpec's goodput. With acceptance rates a_r, moving averages of each request, k tokens a request are
    expected to write ``sum_r (1 - a_r^(k+1)) / (1 - a_r)`` tokens in the time of k draft passes and one target pass
    over all nodes, as fitted online to the passes of late (the paper fits a line before serving). Prefills are
    passes of their own and enter neither side.
    """

    card = Card(
        paper="Optimizing Speculative Decoding for Serving Large Language Models Using Goodput",
        lossless=True,
        timed=True,
        catalogue=(0,),
    )

    maximum: Annotated[int, Field(ge=1)] = 16
    """Longest draft considered, tokens."""
    memory: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Weight that a round keeps with each later one in the acceptance rates."""

    @cached_property
    def _shared(self) -> Acceptance:
        return Acceptance()

    @cached_property
    def _silent(self) -> list[int]:
        return [0]

    def start(self, context: Context, pace: Pace) -> Load:
        """Begin with the acceptance rate of all requests."""
        return Load(pace, Acceptance(self._shared.rate, 1.0))

    def budget(self, state: Load) -> int:
        """The best k were this the only request."""
        return self.budgets([state])[0]

    def budgets(self, states: Sequence[Load]) -> list[int]:
        """The best k for all."""
        if not states:
            return []
        pace, n = states[0].pace, len(states)
        if not pace.known:
            return [1] * n
        rates = [min(state.acceptance.rate, 0.999) for state in states]

        def goodput(k: int) -> float:
            written = sum((1 - a ** (k + 1)) / (1 - a) for a in rates)
            return written / (pace.target_pass(n * (k + 1)) + k * pace.draft_pass)

        best = max(range(self.maximum + 1), key=goodput)
        self._silent[0] = self._silent[0] + 1 if best == 0 else 0
        if self._silent[0] >= _TRY:
            self._silent[0], best = 0, 1
        return [best] * n

    def observe(self, state: Load, verdict: Verdict, seconds: float) -> None:
        """Update the rates."""
        drafted = len(verdict.tree)
        state.acceptance.add(drafted, verdict.accepted, self.memory)
        self._shared.add(drafted, verdict.accepted, 0.99)
