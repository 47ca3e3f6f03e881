"""Monte Carlo tree search over steps: thoughts are written to their ends, and begin where others did well."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.scaling.base import Acts, Attempt, Board, Branch
from laconic.scaling.search.base import Judged


@dataclass(slots=True)
class _Node:
    """The end of a step: the first ``at`` tokens of attempt ``number``; the root has none."""

    number: int
    at: int
    parent: _Node | None
    children: int = 0
    """Ways on that have been begun."""
    visits: int = 0
    total: float = 0.0
    """Scores of the thoughts through it, added up."""
    below: list[_Node] = field(default_factory=list)

    @property
    def ways(self) -> int:
        """All ways on: those that were begun here, and the one by which its own attempt went on."""
        return self.children + any(below.number == self.number for below in self.below)


@dataclass(slots=True)
class _Tree:
    root: _Node
    begun: int = 0
    parents: list[_Node] = field(default_factory=list)
    """Where those attempts begin that are to be started, in their order."""
    tips: dict[int, _Node] = field(default_factory=dict)
    """The last end of a step of each attempt."""
    scored: set[int] = field(default_factory=set)


@knobs
class MCTS(Judged):
    """Thoughts begin at the end of a step of others that went well, where few have begun yet.

    Source: Bandit based Monte-Carlo Planning (Kocsis and Szepesvari 2006), UCT, over steps of reasoning as in later
    work on language models: go down from the beginning by the mean score and how seldom a way was taken, begin a new
    way at the first end of a step that has fewer than ``width``, write it to its end, and add its score to all steps
    on the way. What is under way counts as a visit without score, so that several go different ways at once; where
    the next begins hangs on which are through by then. The answer with the highest scores in all stands.
    """

    card = Card(paper="Bandit based Monte-Carlo Planning (UCT)", lossless=False)

    rollouts: Annotated[int, Field(ge=1)] = 16
    """Thoughts that are written in all."""
    width: Annotated[int, Field(ge=1)] = 3
    """Ways on from an end of a step."""
    explore: Annotated[float, Field(ge=0)] = 1.0
    """Weight of how seldom a way was taken."""

    def start(self, board: Board) -> _Tree:
        """The beginning of the thought."""
        return _Tree(_Node(-1, 0, None))

    def acts(self, state: _Tree, board: Board) -> Acts:
        """Let all that wait go on, and begin others in the places of those that have ended."""
        self._grow(state, board)
        for attempt in board.attempts:
            if attempt.state in ("done", "failed") and attempt.number not in state.scored:
                self._score(state, board, attempt)
        room = min(board.most - len(board.running), self.rollouts - state.begun)
        go = {attempt.number: 0 for attempt in board.waiting}
        starts, branches = list[_Node](), list[_Node]()
        for _ in range(room):
            node = self._select(state.root)
            if node is None:  # every end of a step that is known has its ways on: some of them must end first
                break
            for each in _up(node):
                each.visits += 1
            node.children += 1
            state.begun += 1
            (branches if node.number >= 0 else starts).append(node)
        # Branches are made before any is started anew, so this is the order in which they come on the board.
        state.parents += [*branches, *starts]
        return Acts(start=len(starts), branch=[Branch(node.number, node.at) for node in branches], go=go)

    def advance(self, state: Any, board: Board, waiting: Sequence[Attempt]) -> Acts:
        """Never asked: nobody waits for the others here."""
        return Acts()

    def _grow(self, state: _Tree, board: Board) -> None:
        """Add the ends of steps that attempts have come to."""
        for attempt in board.attempts:
            tip = state.tips.setdefault(attempt.number, state.parents[attempt.number])
            known = max(tip.at, attempt.taken)
            for at in (end for end in attempt.ends if end > known):
                node = _Node(attempt.number, at, tip, visits=1)
                tip.below.append(node)
                tip = state.tips[attempt.number] = node

    def _score(self, state: _Tree, board: Board, attempt: Attempt) -> None:
        """Add the score of an attempt that has ended to all steps on its way."""
        state.scored.add(attempt.number)
        score = self.value(board, attempt) if attempt.answer else 0.0
        for node in _up(state.tips[attempt.number]):
            node.total += score

    def _select(self, node: _Node) -> _Node | None:
        """Where the next thought begins: down to the first end of a step that has room; None where none has."""
        while node.ways >= self.width:
            total, open = max(node.visits, 1), [child for child in node.below if self._room(child)]
            if not open:
                return None
            node = max(open, key=lambda child: self._bound(child, total))
        return node

    def _room(self, node: _Node) -> bool:
        """Whether another way may begin here or below."""
        return node.ways < self.width or any(self._room(child) for child in node.below)

    def _bound(self, node: _Node, total: int) -> float:
        visits = max(node.visits, 1)
        return node.total / visits + self.explore * math.sqrt(math.log(total) / visits)


def _up(node: _Node | None) -> list[_Node]:
    """A node and those above it."""
    found = []
    while node is not None:
        found.append(node)
        node = node.parent
    return found
