"""phi-decoding: each step is chosen by where it leads, as far as a short look ahead tells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from laconic.policy import Card, Needs, knobs
from laconic.scaling.base import Acts, Attempt, Board, Branch
from laconic.scaling.search.base import Frontier, drawn, evenly, likely, spread

Floats = NDArray[np.float64]
_ALIKE = 0.5
"""Share of common words from which two looks ahead are of one cluster."""


@dataclass(slots=True)
class _State:
    ahead: dict[int, int] = field(default_factory=dict)
    """The look ahead of each candidate: the number of the attempt that took it."""
    looked: set[int] = field(default_factory=set)
    """All attempts that were looks ahead; their answers do not count."""
    foresight: dict[int, float] = field(default_factory=dict)
    """Mean logarithm of the probabilities of the look ahead of each candidate."""
    turn: int = 0


@knobs
class Phi(Frontier):
    """Candidates for the next step are looked at by how likely, and how common, their continuations are.

    Source: phi-Decoding: Adaptive Foresight Sampling (Xu et al. 2025). Of every thought ``width`` next steps are
    sampled; those whose own probability is more than one standard deviation below the mean are dropped (in-width
    pruning). From each of the others the next ``foresight`` tokens are written. A step is then drawn by the mean of two
    softmaxes, as in the authors' code: of its advantage, which is how much likelier its look ahead is than that of the
    step before, and of the size of the cluster of looks ahead that it belongs to; steps without an advantage are
    drawn only where none has one. Once a share of ``dominant`` is of one cluster, the
    likeliest goes on alone to the end (in-depth pruning). The authors cluster texts by TF-IDF and k-means; here two are
    of one cluster if they share half of their words. What was written to look ahead is thrown away. Half of ``n`` are
    thoughts, so with fewer than 4 there is nothing to choose from.
    """

    card = Card(paper="phi-Decoding", lossless=False, catalogue=(97,))
    needs = Needs(chances=True)

    width: Annotated[int, Field(ge=1)] = 4
    """Candidates for the next step of each thought."""
    foresight: Annotated[int, Field(ge=1)] = 32
    """Tokens of a look ahead."""
    temperature: Annotated[float, Field(gt=0)] = 0.1
    """Of the softmax of advantages."""
    dominant: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Share of one cluster at which the look ahead ends."""

    def start(self, board: Board) -> _State:
        """Nothing looked at."""
        return _State()

    def acts(self, state: _State, board: Board) -> Acts:
        """Also where looks ahead have come to the ends of their thoughts."""
        if state.ahead:
            pairs = [board.attempts[n] for pair in state.ahead.items() for n in pair]
            return Acts() if any(a.state == "running" and not a.waits for a in pairs) else self._choose(state, board)
        return super().acts(state, board)

    def roots(self, board: Board) -> int:
        """Half of those that may be under way: each may have a look ahead beside it."""
        return max(board.most // 2, 1)

    def advance(self, state: _State, board: Board, waiting: Sequence[Attempt]) -> Acts:
        """Drop unlikely steps, and look ahead of the others."""
        own = [likely(attempt, attempt.ends[-2] if len(attempt.ends) > 1 else 0) for attempt in waiting]
        least = float(np.mean(own) - np.std(own)) - 1e-9
        kept = [attempt for attempt, mine in zip(waiting, own, strict=True) if mine >= least]
        stop = {a.number: "an unlikely step" for a, mine in zip(waiting, own, strict=True) if mine < least}
        if len(kept) == 1:
            state.foresight[kept[0].number] = max(own)
            return Acts(go={kept[0].number: 0}, stop=stop)
        first = len(board.attempts)
        state.ahead = {attempt.number: first + at for at, attempt in enumerate(kept)}
        state.looked |= set(state.ahead.values())
        return Acts(branch=[Branch(attempt.number, most=self.foresight) for attempt in kept], stop=stop)

    def _choose(self, state: _State, board: Board) -> Acts:
        """Draw the steps that stand."""
        pairs = [(board.attempts[n], board.attempts[ahead]) for n, ahead in state.ahead.items()]
        stop = {ahead.number: "a look ahead" for _, ahead in pairs if ahead.state == "running"}
        logs = np.array([likely(ahead, ahead.taken) for _, ahead in pairs])
        before = self._before(state, [attempt for attempt, _ in pairs])
        for (attempt, _), mine in zip(pairs, logs, strict=True):
            state.foresight[attempt.number] = float(mine)
        state.ahead, state.turn = {}, state.turn + 1
        sizes = _clusters([frozenset(ahead.text(ahead.taken).split()) for _, ahead in pairs])
        gains = logs - before
        chances = (_softmax(gains / self.temperature) + _softmax(sizes / len(sizes))) / 2
        chances = chances * np.where((gains > 0) | (gains.max() <= 0), 1.0, 1e-9) + 1e-12
        if sizes.max() / len(sizes) >= self.dominant and len(sizes) > 1:
            best = pairs[int(chances.argmax())][0]
            stop |= {a.number: "one way dominates" for a, _ in pairs if a is not best}
            return Acts(go={best.number: -1}, stop=stop)
        room = max(self.roots(board) - len(self.voters(state, board)), 1)
        count = min(math.ceil(room / self.width), len(pairs))
        numbers = drawn(board, state.turn)
        picked = numbers.choice(len(pairs), size=count, replace=False, p=chances / chances.sum())
        acts = spread([a for a, _ in pairs], evenly([pairs[int(at)][0] for at in picked], room))
        return Acts(go=acts.go, branch=acts.branch, stop={**stop, **acts.stop})

    @staticmethod
    def _before(state: _State, attempts: Sequence[Attempt]) -> Floats:
        """The looks ahead of the steps before; where there was none, their mean."""
        known = [state.foresight.get(a.number, state.foresight.get(a.parent)) for a in attempts]
        told = [value for value in known if value is not None]
        mean = sum(told) / len(told) if told else 0.0
        return np.array([mean if value is None else value for value in known])

    def voters(self, state: _State, board: Board) -> Sequence[Attempt]:
        """All but looks ahead."""
        return [attempt for attempt in board.done if attempt.number not in state.looked]

    def weight(self, state: _State, board: Board, attempt: Attempt) -> float:
        """How likely all of it is."""
        return math.exp(likely(attempt, 0))


def _softmax(values: Floats) -> Floats:
    weights = np.exp(values - values.max())
    total: Floats = weights / weights.sum()
    return total


def _clusters(texts: Sequence[frozenset[str]]) -> Floats:
    """How many texts are of each one's cluster, itself included: those linked by common words."""
    group = list(range(len(texts)))
    for i, one in enumerate(texts):
        for j in range(i):
            union = len(one | texts[j])
            if (len(one & texts[j]) / union if union else 1.0) >= _ALIKE:
                old, new = group[i], group[j]
                group = [new if each == old else each for each in group]
    return np.array([group.count(each) for each in group], dtype=np.float64)
