"""Cautious next token prediction: where the model is unsure it tries several ways on, and keeps the likeliest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from laconic.policy import Card, Needs, knobs
from laconic.scaling.base import Acts, Attempt, Board, Branch
from laconic.scaling.search.base import Frontier, likely
from laconic.types import Logprob


@dataclass(slots=True)
class _Trials:
    walker: int = 0
    """The attempt that is the thought."""
    begun: dict[int, int] = field(default_factory=dict)
    """Where the trials under way part, by attempt; empty while a step is written for the first time."""


@knobs
class Cautious(Frontier):
    """One thought, which tries other ways from the first place of a step where its model was unsure.

    Source: Cautious Next Token Prediction (Wang et al. 2025): from a place with high entropy several trials are sampled
    up to the next punctuation, the more the higher the entropy is between ``low`` and ``high``, and that with the
    lowest perplexity is kept. What is written is the first trial of its place; so looking back at the end of a step
    finds the same trials as looking ahead would. Trials here end with the step, and at most ``n`` are tried. Entropy,
    in nats, is that of the 20 likeliest tokens and of the rest as one.
    """

    card = Card(paper="Cautious Next Token Prediction", lossless=False, catalogue=(177,))
    needs = Needs(chances=True)
    alternatives = 20

    low: Annotated[float, Field(ge=0)] = 0.01
    """Entropy up to which there is one trial."""
    high: Annotated[float, Field(gt=0)] = 1.5
    """Entropy from which there are ``n``."""

    def start(self, board: Board) -> _Trials:
        """No trial."""
        return _Trials()

    def roots(self, board: Board) -> int:
        """One."""
        return 1

    def acts(self, state: _Trials, board: Board) -> Acts:
        """Also where trials have come to the end of the thought."""
        if state.begun and all(board.attempts[n].state != "running" or board.attempts[n].waits for n in state.begun):
            return self._choose(state, board)
        return super().acts(state, board)

    def advance(self, state: _Trials, board: Board, waiting: Sequence[Attempt]) -> Acts:
        """Try other ways for the step that has just been written, where the model was unsure."""
        (attempt,) = waiting
        begun = max((end for end in attempt.ends[:-1]), default=0)
        for at, told in enumerate(attempt.logprobs()[begun:], start=begun):
            trials = self._trials(told, board.most)
            if trials > 1:
                state.begun = {attempt.number: at}
                first = len(board.attempts)
                state.begun |= {first + more: at for more in range(trials - 1)}
                return Acts(branch=[Branch(attempt.number, at) for _ in range(trials - 1)])
        return Acts(go={attempt.number: 0})

    def _trials(self, told: Logprob | None, most: int) -> int:
        """How many ways to try from a place."""
        unsure = (entropy(told) - self.low) / max(self.high - self.low, 1e-9)
        return round(1 + (most - 1) * min(max(unsure, 0.0), 1.0))

    def _choose(self, state: _Trials, board: Board) -> Acts:
        """Go on with the likeliest trial."""
        trials = [board.attempts[number] for number in state.begun if board.attempts[number].state != "failed"]
        best = max(trials, key=lambda a: (likely(a, state.begun[a.number]), -a.number))
        state.walker, state.begun = best.number, {}
        others = {a.number: "another was likelier" for a in trials if a is not best and a.state == "running"}
        if best.state == "done":
            return Acts(stop=others, enough="the likeliest way has ended")
        return Acts(stop=others, go={best.number: 0})

    def voters(self, state: _Trials, board: Board) -> Sequence[Attempt]:
        """The thought, once it has ended."""
        return [attempt for attempt in board.done if attempt.number == state.walker]


def entropy(told: Logprob | None) -> float:
    """Entropy of a place in nats: of the likeliest tokens, and of the rest as one. 0 where nothing is known."""
    if told is None:
        return 0.0
    chances = [math.exp(value) for _, value in told.top]
    rest = max(1 - sum(chances), 0.0)
    return -sum(p * math.log(p) for p in (*chances, rest) if p > 0)
