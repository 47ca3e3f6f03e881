"""Particle filtering over steps, with its Gibbs and its tempering variants."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from laconic.errors import RequestError
from laconic.policy import Card, knobs
from laconic.scaling.base import Acts, Attempt, Board, Branch
from laconic.scaling.search.base import DROPPED, Judged, drawn, logit

Floats = NDArray[np.float64]
_LARGEST = 500.0
"""Logarithm of the heaviest weight."""


@dataclass(slots=True)
class _Chain:
    """Particles that are resampled among each other."""

    members: dict[int, int] = field(default_factory=dict)
    """How many particles each attempt of this iteration stands for."""
    reference: int = -1
    """The attempt of the iteration before that is kept; -1 where there was none."""
    ended: dict[int, float] = field(default_factory=dict)
    """Attempts of all iterations that are through, and how many particles each stood for."""


@dataclass(slots=True)
class _State:
    chains: list[_Chain]
    iteration: int = 0
    step: int = 0
    seen: set[int] = field(default_factory=set)
    """Attempts that have been counted in."""
    values: dict[int, list[float]] = field(default_factory=dict)
    """Scores of an attempt at each of its waits."""


@knobs
class Particles(Judged):
    """Thoughts are particles: after each step they are drawn anew, in proportion to the odds of their scores.

    Source: A Probabilistic Inference Approach to Inference-Time Scaling of LLMs using Particle-Based Monte Carlo
    Methods (Puri et al. 2025): the weights are a softmax of the scores' log odds. Unlike in a beam a thought that looks
    worse may live on, which keeps a judge that errs from deciding alone. Thoughts that have ended are drawn with the
    others. ``iterations`` is particle Gibbs: one thought of each iteration, drawn by its weight, is kept whole in the
    next, where every step of it takes part in the drawing, which is multinomial then. ``chains`` is parallel tempering:
    the particles of each chain are drawn at a temperature of their own, higher by ``heat`` from chain to chain, and
    after an iteration the thoughts kept by neighbours change places as Metropolis would have it. Those of the first
    chain vote.
    """

    card = Card(paper="Particle-based Monte Carlo inference-time scaling", lossless=False, catalogue=(264,))

    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of the weights."""
    iterations: Annotated[int, Field(ge=1)] = 1
    """1 is a particle filter, more are particle Gibbs."""
    chains: Annotated[int, Field(ge=1)] = 1
    """More than 1 are parallel tempering."""
    heat: Annotated[float, Field(ge=1)] = 2.0
    """How much hotter each chain is than the one before it."""
    drawing: Literal["systematic", "multinomial", "balanced"] = "systematic"
    """How particles are drawn: with one random number for all, with one for each, or without (as REBASE does)."""

    def start(self, board: Board) -> _State:
        """Refuse chains without particles."""
        if board.most < self.chains:
            raise RequestError(
                f"'{self.name}' has {self.chains} chains for {board.most} attempts.", "Allow more attempts."
            )
        if self.iterations > 1 and board.most == self.chains > 1:
            raise RequestError(
                f"with {board.most} attempts in {self.chains} chains only those that are kept have a place in the next "
                "iteration.",
                "Allow more attempts.",
            )
        return _State([_Chain() for _ in range(self.chains)])

    def acts(self, state: _State, board: Board) -> Acts:
        """As every frontier, and begin anew after an iteration."""
        acts = super().acts(state, board)
        over = not board.running or (acts.stop and not acts.go and not acts.branch)
        return self._anew(state, board, acts.stop) if board.attempts and over else acts

    def _anew(self, state: _State, board: Board, stop: Mapping[int, str]) -> Acts:
        """The next iteration, if there is one."""
        self._enlist(state, board)
        self._keep(state, board)
        if state.iteration + 1 >= self.iterations:
            return Acts(stop=stop)
        state.iteration, state.step = state.iteration + 1, 0
        return Acts(start=board.most - sum(chain.reference >= 0 for chain in state.chains), stop=stop)

    def advance(self, state: _State, board: Board, waiting: Sequence[Attempt]) -> Acts:
        """Draw the particles of every chain."""
        self._enlist(state, board)
        for attempt in waiting:
            state.values.setdefault(attempt.number, []).append(self.value(board, attempt))
        go: dict[int, int] = {}
        branch: list[Branch] = []
        step, state.step = state.step, state.step + 1
        for at, chain in enumerate(state.chains):
            self._draw(state, board, at, chain, step, go, branch)
        stop = {attempt.number: DROPPED for attempt in waiting if attempt.number not in go}
        return Acts(go=go, branch=branch, stop=stop)

    def _enlist(self, state: _State, board: Board) -> None:
        """Count the attempts of this step in: copies with their parents' chains, new ones where there is room."""
        first = 0
        for attempt in board.attempts:
            if attempt.number in state.seen or attempt.state not in ("running", "done"):
                continue
            state.seen.add(attempt.number)
            if attempt.parent >= 0:
                whose = attempt.parent
                chain = next(c for c in state.chains if whose in c.members or whose == c.reference)
                took = sum(end <= attempt.taken for end in attempt.ends)
                state.values[attempt.number] = state.values.get(whose, [])[:took]
            else:
                chain, first = state.chains[first % len(state.chains)], first + 1
            chain.members[attempt.number] = 1

    def _odds(self, at: int, scores: Sequence[float]) -> Floats:
        """Weights of scores in a chain, adding up to 1."""
        weights = np.array([logit(score) for score in scores]) / (self.temperature * self.heat**at)
        weights = np.exp(weights - weights.max())
        total: Floats = weights / weights.sum()
        return total

    def _draw(
        self, state: _State, board: Board, at: int, chain: _Chain, step: int, go: dict[int, int], branch: list[Branch]
    ) -> None:
        """Draw a chain's particles, and say who goes on as how many."""
        alive = [n for n, many in chain.members.items() if many > 0 and board.attempts[n].state in ("running", "done")]
        owners = [number for number in alive for _ in range(chain.members[number])]
        count = len(owners)
        weighted = [self.value(board, board.attempts[number]) for number in owners]
        kept = chain.reference
        if kept >= 0:  # it takes part with the score that it had at this step, or with its last one
            told = state.values.get(kept, [])
            weighted.append(told[step] if step < len(told) else self.value(board, board.attempts[kept]))
            owners.append(kept)
        if not owners:
            return
        numbers = self._drawn(
            self._odds(at, weighted), count, drawn(board, state.iteration, step, at), beside=kept >= 0
        )
        copies: dict[int, int] = {}
        for index in numbers:
            copies[owners[index]] = copies.get(owners[index], 0) + 1
        for number in alive:
            chain.members[number] = copies.get(number, 0)
            if board.attempts[number].state == "running" and copies.get(number):
                chain.members[number] = 1
                go[number] = 0
                branch += [Branch(number) for _ in range(copies[number] - 1)]
        if kept >= 0 and copies.get(kept):
            ends = board.attempts[kept].ends
            if step < len(ends):
                branch += [Branch(kept, ends[step]) for _ in range(copies[kept])]
            else:  # from here on these particles are through, as it is
                chain.members[kept] = copies[kept]

    def _drawn(self, weights: Floats, count: int, numbers: np.random.Generator, *, beside: bool) -> list[int]:
        """``count`` indices in proportion to weights; each by itself where one is kept ``beside`` them anyway."""
        if self.drawing == "multinomial" or beside:
            return sorted(int(each) for each in numbers.choice(len(weights), size=count, p=weights))
        offset = 0.5 if self.drawing == "balanced" else numbers.random()
        edges = np.cumsum(weights)
        places = (np.arange(count) + offset) / count
        return [min(int(each), len(weights) - 1) for each in np.searchsorted(edges, places)]

    def _keep(self, state: _State, board: Board) -> None:
        """After an iteration: count its particles, and draw the one of each chain that is kept."""
        for at, chain in enumerate(state.chains):
            alive = [n for n, many in chain.members.items() if many > 0 and board.attempts[n].state == "done"]
            for number in alive:
                chain.ended[number] = chain.ended.get(number, 0.0) + chain.members[number]
            owners = [number for number in alive for _ in range(chain.members[number])]
            owners += [chain.reference] if chain.reference >= 0 else []
            chain.members = {}
            if owners:
                scores = [self.value(board, board.attempts[number]) for number in owners]
                numbers = drawn(board, state.iteration, 1 << 20, at)
                chain.reference = owners[int(numbers.choice(len(owners), p=self._odds(at, scores)))]
        for at, (cold, hot) in enumerate(zip(state.chains, state.chains[1:], strict=False)):
            if cold.reference < 0 or hot.reference < 0:
                continue
            gain = logit(self._of_reference(board, hot)) - logit(self._of_reference(board, cold))
            beta = (1 / self.heat**at - 1 / self.heat ** (at + 1)) / self.temperature
            chance = math.exp(min(beta * gain, 0.0))
            if drawn(board, state.iteration, 1 << 21, at).random() < chance:
                cold.reference, hot.reference = hot.reference, cold.reference

    def _of_reference(self, board: Board, chain: _Chain) -> float:
        return self.value(board, board.attempts[chain.reference])

    def voters(self, state: _State, board: Board) -> Sequence[Attempt]:
        """Those that stand for particles of the first chain."""
        return [attempt for attempt in board.done if self._many(state, attempt)]

    @staticmethod
    def _many(state: _State, attempt: Attempt) -> float:
        """Particles of the first chain that an attempt stands for, those of earlier iterations included."""
        first = state.chains[0]
        return first.ended.get(attempt.number, 0.0) + first.members.get(attempt.number, 0)

    def weight(self, state: _State, board: Board, attempt: Attempt) -> float:
        """Its particles, each by the odds of its score."""
        odds = math.exp(min(logit(self.value(board, attempt)) / self.temperature, _LARGEST))
        return self._many(state, attempt) * odds
