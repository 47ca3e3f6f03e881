"""Contract of frontiers: which of the unfinished thoughts go on, which are copied, and which are dropped."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pydantic

from laconic.judges.base import Judge
from laconic.policy import knobs
from laconic.scaling.base import Acts, Attempt, Board, Branch, Candidate, Scaling
from laconic.scaling.groups import grouped

DROPPED = "others were better"
_EDGE = 1e-6
"""How near to 0 and 1 a score is taken, where its logarithm or its odds are needed."""


class Frontier(Scaling):
    """Attempts walk in step: when all that are under way wait, :meth:`advance` says which go on, and as how many.

    ``Board.most`` is how many are under way at once.
    """

    walks = True

    def roots(self, board: Board) -> int:
        """Attempts to begin with."""
        return board.most

    def acts(self, state: Any, board: Board) -> Acts:
        """Begin, and decide once all wait."""
        if not board.attempts:
            return Acts(start=self.roots(board))
        waiting = board.waiting
        return self.advance(state, board, waiting) if waiting and len(waiting) == len(board.running) else Acts()

    def advance(self, state: Any, board: Board, waiting: Sequence[Attempt]) -> Acts:
        """What becomes of the attempts that wait: at least one, and no other is under way."""
        raise NotImplementedError

    def voters(self, state: Any, board: Board) -> Sequence[Attempt]:
        """Attempts that have ended whose answers count."""
        return board.done

    def weight(self, state: Any, board: Board, attempt: Attempt) -> float:
        """What the answer of an attempt counts."""
        return 1.0

    def candidates(self, state: Any, board: Board) -> list[Candidate]:
        """The answers by weight, the attempt with the heaviest first behind each."""
        weights = {a.number: self.weight(state, board, a) for a in self.voters(state, board) if a.answer}
        groups = grouped((a, a.answer, weights[a.number]) for a in board.done if a.number in weights)
        return [
            Candidate(group.answer, group.weight, tuple(sorted(group.numbers, key=lambda n: -weights[n])))
            for group in groups
        ]


@knobs
class Judged(Frontier):
    """A frontier that goes by what a judge says of the steps so far."""

    parts: ClassVar[Mapping[str, str]] = {"judge": "judge"}  # type: ignore[assignment]
    hints: ClassVar[Mapping[str, str]] = {"judge": "Name one in brackets: judge=[equations], judge=[prm:DIR] ..."}

    judge: pydantic.InstanceOf[Judge]
    """Who scores the steps so far, e.g. [equations] or [prm:DIR]."""

    def value(self, board: Board, attempt: Attempt) -> float:
        """The judge's score."""
        return board.score(self.judge, attempt)

    def best(self, board: Board, attempts: Sequence[Attempt]) -> list[Attempt]:
        """Attempts by their scores, the highest first; of equal ones the shorter first."""
        return sorted(attempts, key=lambda a: (-self.value(board, a), a.thinking, a.number))

    def weight(self, state: Any, board: Board, attempt: Attempt) -> float:
        """The score of all of it."""
        return self.value(board, attempt)


def by_best(board: Board, score: Callable[[Attempt], float]) -> list[Candidate]:
    """The answers of all that have ended by the best score behind each, then by how many came to them."""
    made = []
    for group in grouped((a, a.answer, 1.0) for a in board.done):
        scores = {number: score(board.attempts[number]) for number in group.numbers}
        numbers = tuple(sorted(group.numbers, key=lambda number: -scores[number]))
        made.append(Candidate(group.answer, scores[numbers[0]], numbers))
    return sorted(made, key=lambda each: (-each.weight, -len(each.numbers)))


def likely(attempt: Attempt, begun: int) -> float:
    """Mean logarithm of the probabilities of an attempt's tokens from a place on, up to the end of its thought."""
    end = attempt.result.thought if attempt.result is not None else None
    logs = [math.log(max(chance, 1e-30)) for chance in attempt.chances[begun:end]]
    return sum(logs) / len(logs) if logs else 0.0


def spread(waiting: Sequence[Attempt], copies: Mapping[int, int], reason: str = DROPPED) -> Acts:
    """Each attempt goes on as so many, by its number; those with none are dropped."""
    go = {a.number: 0 for a in waiting if copies.get(a.number, 0) > 0}
    branch = [Branch(number) for number, count in copies.items() for _ in range(count - 1)]
    return Acts(go=go, branch=branch, stop={a.number: reason for a in waiting if a.number not in go})


def evenly(chosen: Sequence[Attempt], room: int) -> dict[int, int]:
    """``room`` places for those chosen, the first ones given one more where it does not come out even."""
    size, more = divmod(room, len(chosen))
    return {attempt.number: size + (at < more) for at, attempt in enumerate(chosen)}


def logit(score: float) -> float:
    """Logarithm of the odds of a score."""
    score = min(max(score, _EDGE), 1 - _EDGE)
    return math.log(score / (1 - score))


def surprise(score: float) -> float:
    """Negative logarithm of a score."""
    return -math.log(max(score, _EDGE))


def drawn(board: Board, *of: int) -> np.random.Generator:
    """Numbers that depend on the question's seed and on what they are for."""
    return np.random.default_rng([board.seed & (2**63 - 1), *of])


def root(board: Board, attempt: Attempt) -> int:
    """The attempt in which an attempt's ancestors began."""
    while attempt.parent >= 0:
        attempt = board.attempts[attempt.parent]
    return attempt.number
