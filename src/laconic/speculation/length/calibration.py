"""How often drafted tokens are really accepted, given what the drafter thinks of them; learned while decoding."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from threading import Lock

from laconic.speculation.base import TokenTree

_BINS = 14
_EDGE = 6.0
"""Largest log-odds told apart."""
_DEPTHS = (0, 1, 2, 4, 8)
"""First depth of each class."""
_PRIOR = 2.0
"""Tokens that the drafter's own word counts for."""
_BIN = 8.0
"""Tokens that a bin counts for in each of its depth classes."""
_SHARED = 12.0
"""Tokens that all requests together count for in a single one."""
_MEMORY = 0.998
"""Weight that a cell's past keeps with each further token; about five hundred count."""


def bin_of(confidence: float) -> int:
    """The class of a confidence in [0, 1], evenly spaced in its log-odds."""
    bounded = min(max(confidence, 1e-9), 1 - 1e-9)
    odds = min(max(math.log(bounded / (1 - bounded)), -_EDGE), _EDGE)
    return min(int((odds + _EDGE) / (2 * _EDGE) * _BINS), _BINS - 1)


_CLASS = [sum(depth >= first for first in _DEPTHS) - 1 for depth in range(_DEPTHS[-1] + 1)]


def depth_of(depth: int) -> int:
    """The class of a depth below the last committed token."""
    return _CLASS[min(depth, _DEPTHS[-1])]


_MIDDLE = [1 / (1 + math.exp(-(-_EDGE + 2 * _EDGE * (i + 0.5) / _BINS))) for i in range(_BINS)]

Cell = tuple[int, int]
"""Bin of the confidence, class of the depth."""


@dataclass(slots=True)
class Counts:
    """Tokens seen and accepted by cell, the past fading."""

    seen: dict[Cell | int, float] = field(default_factory=dict)
    accepted: dict[Cell | int, float] = field(default_factory=dict)

    def add(self, key: Cell | int, accepted: bool) -> None:
        """Count one token."""
        self.seen[key] = _MEMORY * self.seen.get(key, 0.0) + 1
        self.accepted[key] = _MEMORY * self.accepted.get(key, 0.0) + accepted

    def rate(self, key: Cell | int, prior: float, weight: float) -> float:
        """Share accepted, ``prior`` counting as ``weight`` tokens."""
        return (self.accepted.get(key, 0.0) + weight * prior) / (self.seen.get(key, 0.0) + weight)


class Calibration:
    """The chance of acceptance by confidence and depth: a request's own experience over that of all requests.

    ``ahead`` is the chance that the token *after* one of a given confidence is accepted, once that one is: what a
    policy must know before it pays for a look at it.
    """

    def __init__(self) -> None:
        self.shared = Counts()
        self.following = Counts()
        self.lock = Lock()

    def chance(self, own: Counts, cell: Cell) -> float:
        """Chance that a token in ``cell`` is accepted if the tokens above it are."""
        in_bin = self.shared.rate(cell[0], _MIDDLE[cell[0]], _PRIOR)
        in_cell = self.shared.rate(cell, in_bin, _BIN)
        return own.rate(cell, own.rate(cell[0], in_cell, _SHARED), _SHARED)

    def ahead(self, cell: Cell) -> float:
        """Chance that what follows a token in ``cell`` is accepted, seen before it is drafted."""
        return self.following.rate(cell[0], self.shared.rate(cell[0], _MIDDLE[cell[0]], _PRIOR), _BIN)

    def learn(self, own: Counts, cells: Sequence[Cell], tree: TokenTree, path: Collection[int]) -> None:
        """Count a round: node i of ``tree`` was drafted in ``cells[i]``, those of ``path`` held.

        What hangs below a refused token says nothing. Siblings all count, the likeliest one as what follows its parent.
        """
        held_up, eldest = {-1, *path}, set()
        with self.lock:
            for node, (cell, parent) in enumerate(zip(cells, tree.parents, strict=False)):
                if parent not in held_up:
                    continue
                held = node in held_up
                for counts in (self.shared, own):
                    counts.add(cell[0], held)
                    counts.add(cell, held)
                if parent >= 0 and parent not in eldest:
                    self.following.add(cells[parent][0], held)
                eldest.add(parent)
