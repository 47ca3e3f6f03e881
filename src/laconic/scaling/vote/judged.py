"""Attempts chosen by a judge, alone or together with their votes."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

import pydantic
from pydantic import Field

from laconic.judges.base import Judge
from laconic.policy import Card, knobs
from laconic.scaling.base import Board, Candidate
from laconic.scaling.groups import grouped
from laconic.scaling.vote.base import Vote


@knobs
class BestOfN(Vote):
    """All attempts are written, and a judge says which is best.

    Source: the verifiers of Cobbe et al. 2021. ``sum`` adds up the scores of the attempts behind an answer (weighted
    best of n, Li et al. 2022), ``best`` takes the highest, ``mean`` their mean.
    """

    card = Card(paper="Training Verifiers to Solve Math Word Problems", lossless=False, arxiv="2110.14168")
    parts: ClassVar = {"judge": "judge"}

    judge: pydantic.InstanceOf[Judge]
    """Who scores an attempt, e.g. [digit]."""
    by: Literal["best", "sum", "mean"] = "best"
    """What counts of the scores of an answer's attempts."""

    def candidates(self, state: Any, board: Board) -> list[Candidate]:
        """The answers by their scores."""
        scores = {attempt.number: board.score(self.judge, attempt) for attempt in board.done if attempt.answer}
        made = []
        for group in grouped((a, a.answer, 1.0) for a in board.done):
            numbers = sorted(group.numbers, key=lambda number: -scores[number])
            mine = [scores[number] for number in numbers]
            weight = {"best": mine[0], "sum": sum(mine), "mean": sum(mine) / len(mine)}[self.by]
            made.append(Candidate(group.answer, weight, tuple(numbers)))
        return sorted(made, key=lambda candidate: -candidate.weight)


@knobs
class BestOfMajority(Vote):
    """Of the answers that come often enough, that of the attempt with the highest score.

    Source: Best-of-Majority: Minimax-Optimal Strategy for Pass@k Inference Scaling (Di et al. 2025). The scores of
    answers that came by chance do not matter, so that more attempts never harm. ``often`` is the share of all
    attempts that an answer must have; where none has, all stand.
    """

    card = Card(paper="Best-of-Majority", lossless=False, catalogue=(283,))
    parts: ClassVar = {"judge": "judge"}

    judge: pydantic.InstanceOf[Judge]
    """Who scores an attempt, e.g. [digit]."""
    often: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of the attempts that an answer must have."""

    def candidates(self, state: Any, board: Board) -> list[Candidate]:
        """Frequent answers by their best score, then the others by their votes."""
        done = board.done
        groups = grouped((a, a.answer, 1.0) for a in done)
        least = math.ceil(self.often * len(done))
        frequent = [group for group in groups if len(group.numbers) >= least] or groups
        made = []
        for group in frequent:
            scores = {number: board.score(self.judge, board.attempts[number]) for number in group.numbers}
            numbers = tuple(sorted(group.numbers, key=lambda number: -scores[number]))
            made.append(Candidate(group.answer, scores[numbers[0]], numbers))
        made.sort(key=lambda candidate: -candidate.weight)
        return made + [Candidate(g.answer, 0.0, g.numbers) for g in groups if g not in frequent]
