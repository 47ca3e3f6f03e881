"""One draft length for all requests, chosen each round for the most tokens a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.speculation.base import Context, LengthPolicy, Verdict
from laconic.speculation.length.uniform import Acceptance, best_length, expected
from laconic.speculation.pace import Pace

_TRY = 64
"""Rounds without a draft after which one token is tried again, to learn whether acceptance has changed."""


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
        return Acceptance(0.7, 1.0)

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
        rates = [state.acceptance.rate for state in states]
        lengths = range(self.maximum + 1)
        best = best_length(pace, n, lengths, lambda length: sum(expected(rate, length) for rate in rates))
        self._silent[0] = self._silent[0] + 1 if best == 0 else 0
        if self._silent[0] >= _TRY:
            self._silent[0], best = 0, 1
        return [best] * n

    def observe(self, state: Load, verdict: Verdict, seconds: float) -> None:
        """Update the rates."""
        drafted = len(verdict.tree)
        state.acceptance.add(drafted, verdict.accepted, self.memory)
        self._shared.add(drafted, verdict.accepted, 0.99)
