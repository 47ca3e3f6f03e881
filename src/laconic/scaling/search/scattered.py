"""Scattered forest search: attempts set out in different directions, and learn from how others fared."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import pydantic
from pydantic import Field

from laconic.judges.base import Judge
from laconic.policy import Card, knobs
from laconic.scaling.base import Acts, Attempt, Board, Candidate
from laconic.scaling.search.base import by_best
from laconic.scaling.vote.base import Vote

_SCATTER = (
    "{question}\n\nDo not answer yet. Name {count} different ways to go about this, one in each line, as briefly as "
    "you can."
)
_SCOUT = (
    "{question}\n\nThis was tried: {direction}\nIt came to: {answer}\nIts worth, from 0 to 1: {score:.2f}\n\n"
    "In one sentence: what should the next one who tries do otherwise, or again?"
)
_BULLET = re.compile(r"^\s*(?:[-*•]|\(?\d+[.):]|[a-z][.)])\s*", re.IGNORECASE)


@dataclass(slots=True)
class _Forest:
    roots: list[str] = field(default_factory=list)
    """Directions for first attempts that have not been taken."""
    directions: list[str] = field(default_factory=list)
    """What each attempt was told to do, by number."""
    parents: list[int] = field(default_factory=list)
    insights: list[str] = field(default_factory=list)
    """What was learned, the latest last; all share it."""
    scored: dict[int, float] = field(default_factory=dict)
    visits: dict[int, int] = field(default_factory=dict)


@knobs
class SFS(Vote):
    """Start in several directions that the model names; then go on from what scored well, told what was learned.

    Source: Scattered Forest Search: Smarter Code Space Exploration with LLMs (Light et al. 2024): scattering (the model
    itself names directions), foresting (``seeds`` different first attempts) and scouting (what came of each attempt is
    put in a sentence that all later ones are shown), on a tree of whole attempts that is searched by upper confidence
    bounds. Their scores are unit tests; here they are a judge's, and the answer whose best attempt scores highest
    stands. Directions are added to the question.
    """

    card = Card(paper="Scattered Forest Search", lossless=False, catalogue=(139,))
    parts: ClassVar = {"judge": "judge"}
    asks = True

    judge: pydantic.InstanceOf[Judge]
    """Who scores an attempt, e.g. [equations]."""
    seeds: Annotated[int, Field(ge=1)] = 3
    """First attempts."""
    explore: Annotated[float, Field(ge=0)] = 0.5
    """Weight of how seldom an attempt was gone on from."""
    remembers: Annotated[int, Field(ge=0)] = 3
    """Insights that are shown."""
    tokens: Annotated[int, Field(ge=1)] = 160
    """Most tokens of a list of directions, and of an insight."""

    def start(self, board: Board) -> _Forest:
        """Have directions named."""
        count = min(self.seeds, board.most)
        said = self._ask(board, _SCATTER.format(question=board.question, count=count))
        lines = [_BULLET.sub("", line).strip() for line in said.splitlines()]
        named = list(dict.fromkeys(line for line in lines if line))[:count]
        return _Forest(roots=named + [""] * (count - len(named)))

    def acts(self, state: _Forest, board: Board) -> Acts:
        """Learn from those that have ended, and begin as many as there is room for."""
        for attempt in board.done:
            if attempt.number not in state.scored:
                self._learn(state, board, attempt)
        room = min(board.left, (self.abreast or self.seeds) - len(board.running))
        asked = []
        for _ in range(room):
            parent = -1 if state.roots else self._select(state)
            if parent < 0 and not state.roots:
                break  # nothing has ended yet that one could go on from
            direction = state.roots.pop(0) if parent < 0 else _further(board.attempts[parent], state.scored[parent])
            state.directions.append(direction)
            state.parents.append(parent)
            asked.append(self._prompt(state, board, direction, parent))
        return Acts(others=asked)

    def _ask(self, board: Board, text: str) -> str:
        return board.ask(({"role": "user", "content": text},), self.tokens).strip()

    def _learn(self, state: _Forest, board: Board, attempt: Attempt) -> None:
        """Score an attempt, tell those above it, and put what was learned in a sentence."""
        score = state.scored[attempt.number] = board.score(self.judge, attempt) if attempt.answer else 0.0
        above = attempt.number
        while above >= 0:
            state.visits[above] = state.visits.get(above, 0) + 1
            above = state.parents[above]
        if self.remembers and board.left:
            direction = state.directions[attempt.number] or "the usual way"
            answer = attempt.answer or "no answer"
            said = self._ask(
                board, _SCOUT.format(question=board.question, direction=direction, answer=answer, score=score)
            )
            state.insights += [" ".join(said.split())] if said else []

    def _select(self, state: _Forest) -> int:
        """The attempt to go on from: by its score, and how seldom that was done."""
        total = max(sum(state.visits.values()), 1)
        return max(
            state.scored,
            key=lambda n: state.scored[n] + self.explore * math.sqrt(math.log(total + 1) / state.visits[n]),
            default=-1,
        )

    def _prompt(self, state: _Forest, board: Board, direction: str, parent: int) -> tuple[Any, ...]:
        learned = state.insights[-self.remembers :] if self.remembers else []
        lines = [f"Try this: {direction}" if parent < 0 else direction] if direction else []
        lines += [f"Learned before: {insight}" for insight in learned]
        return board.instead("\n\n".join([board.question, "\n".join(lines)])) if lines else board.messages

    def candidates(self, state: _Forest, board: Board) -> list[Candidate]:
        """The answers by their best scores, then by how many came to them."""
        return by_best(board, lambda attempt: board.score(self.judge, attempt))


def _further(attempt: Attempt, score: float) -> str:
    """What an attempt that goes on from another is to do."""
    answer = attempt.answer or "no answer"
    return f"An earlier attempt came to {answer} (worth {score:.2f} of 1). Check it, and improve on it."
