"""A*-decoding: the thought with the least cost behind and before it goes on, until one that has ended is the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.scaling.base import Acts, Attempt, Board, Branch, Candidate
from laconic.scaling.search.base import DROPPED, Judged, by_best, surprise


@dataclass(slots=True)
class _Costs:
    paths: dict[int, list[float]] = field(default_factory=dict)
    """Cost of each step of an attempt, up to where it waits."""
    expansions: int = 0


@knobs
class AStar(Judged):
    """Always let the most promising thought go on, as ``width``; all others wait, and may have their turn later.

    Source: A*-Decoding: Token-Efficient Inference Scaling (Chatziveroglou 2025): steps of reasoning are states, a
    process reward model gives the cost of coming to a state and an estimate of what is still to come, and search ends
    when a finished thought is the best of all. Here the cost of a state is the negative logarithm of its score; what
    lies behind is the mean over the path, so that long thoughts do not lose for being long, and what is still to come
    is the cost of the last state. ``past`` weighs one against the other.
    """

    card = Card(paper="A*-Decoding", lossless=False, catalogue=(259,))

    width: Annotated[int, Field(ge=1)] = 2
    """As how many a thought goes on whose turn it is."""
    past: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Weight of what lies behind."""
    expansions: Annotated[int, Field(ge=1)] = 64
    """Turns at most; then the best thought goes on alone."""

    def start(self, board: Board) -> _Costs:
        """Nothing expanded."""
        return _Costs()

    def roots(self, board: Board) -> int:
        """As many first steps as any state has."""
        return min(self.width, board.most)

    def acts(self, state: _Costs, board: Board) -> Acts:
        """Decide when all wait or have ended."""
        acts = super().acts(state, board)
        return acts if acts.go or acts.start or board.running else self._over(state, board)

    def advance(self, state: _Costs, board: Board, waiting: Sequence[Attempt]) -> Acts:
        """The best goes on, if none that has ended is better."""
        order = sorted(waiting, key=lambda a: (self._cost(state, board, a), -a.thinking, a.number))
        ended = [self._cost(state, board, attempt) for attempt in board.done if attempt.answer]
        if ended and min(ended) <= self._cost(state, board, order[0]):
            return self._over(state, board)
        state.expansions += 1
        if state.expansions > self.expansions:
            return Acts(go={order[0].number: -1}, stop={a.number: DROPPED for a in order[1:]})
        best, others, width = order[0], order[1:], min(self.width, board.most)
        surplus = len(waiting) + width - 1 - board.most
        dropped = others[-surplus:] if surplus > 0 else []
        return Acts(
            go={best.number: 0},
            branch=[Branch(best.number) for _ in range(width - 1)],
            stop={attempt.number: DROPPED for attempt in dropped},
        )

    def _over(self, state: _Costs, board: Board) -> Acts:
        return Acts(enough="the best thought of all has ended" if board.done else "")

    def _cost(self, state: _Costs, board: Board, attempt: Attempt) -> float:
        """What lies behind an attempt and what is still to come."""
        path = state.paths.get(attempt.number)
        if path is None:
            path = state.paths[attempt.number] = list(state.paths.get(attempt.parent, ())[: self._taken(attempt)])
        stood = len(attempt.ends) + (attempt.state == "done")
        if len(path) < stood:
            path.append(surprise(self.value(board, attempt)))
        return self.past * sum(path) / len(path) + (1 - self.past) * path[-1]

    @staticmethod
    def _taken(attempt: Attempt) -> int:
        """Steps that an attempt took over."""
        return sum(end <= attempt.taken for end in attempt.ends)

    def candidates(self, state: _Costs, board: Board) -> list[Candidate]:
        """The answers by the least cost of any thought that came to them."""
        return by_best(board, lambda attempt: 1 / (1 + self._cost(state, board, attempt)))
