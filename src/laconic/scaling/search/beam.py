"""Beam search over steps, and the same in trees that know nothing of each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.scaling.base import Acts, Attempt, Board
from laconic.scaling.search.base import Judged, evenly, root, spread


@knobs
class Beam(Judged):
    """Of the thoughts that wait keep one in ``width``, the best by the judge, and let each go on as ``width``.

    Source: Scaling LLM Test-Time Compute Optimally (Snell et al. 2024), beam search against a process reward model.
    Thoughts that have ended keep their places, so that with ``n`` of them n answers are found at most; the answer whose
    thoughts have the highest scores in all stands.
    """

    card = Card(paper="Scaling LLM Test-Time Compute Optimally", lossless=False, arxiv="2408.03314")

    width: Annotated[int, Field(ge=1)] = 4
    """Into how many each that is kept parts."""

    def advance(self, state: Any, board: Board, waiting: Sequence[Attempt]) -> Acts:
        """The best go on."""
        room = max(board.most - len(board.done), 1)
        chosen = self.best(board, waiting)[: math.ceil(room / self.width)]
        return spread(waiting, evenly(chosen, room))


@knobs
class DVTS(Judged):
    """Beam search in ``n / width`` trees by themselves: in each the best thought goes on as ``width``.

    Source: Scaling test-time compute with open models (Beeching, Tunstall and Rush 2024), diverse verifier tree search:
    where one beam soon holds the offspring of one thought, trees stay different.
    """

    card = Card(paper="Scaling test-time compute with open models (DVTS)", lossless=False)

    width: Annotated[int, Field(ge=1)] = 4
    """Thoughts of a tree."""

    def advance(self, state: Any, board: Board, waiting: Sequence[Attempt]) -> Acts:
        """The best of each tree goes on."""
        trees: dict[int, list[Attempt]] = {}
        ended: dict[int, int] = {}
        for attempt in waiting:
            trees.setdefault(root(board, attempt) // self.width, []).append(attempt)
        for attempt in board.done:
            tree = root(board, attempt) // self.width
            ended[tree] = ended.get(tree, 0) + 1
        copies = {}
        for tree, mine in trees.items():
            size = min(self.width, board.most - tree * self.width)
            copies[self.best(board, mine)[0].number] = max(size - ended.get(tree, 0), 1)
        return spread(waiting, copies)
