"""Reading suffix counts: the longest known context, and the rows of a draft that grows from it."""

from __future__ import annotations

from laconic.speculation.base import Grown
from laconic.speculation.drafters.suffix_store import ORDERS, Entry, best_of, share, top_of

Tables = list[tuple[int, dict[int, Entry], dict[int, Entry]]]
"""``(order, this request's table, the shared table)``, shortest order first."""

LEVELS = {0: -1} | {order: level for level, order in enumerate(ORDERS)}
"""Where an order stands in Tables; -1 is no match at all."""


def find(tables: Tables, window: tuple[int, ...], guess: int = 0) -> tuple[Entry | None, int]:
    """Continuations of the longest known suffix of ``window`` and its length; the request's own before shared.

    A context that is known at one order is known at every shorter one, so the search may begin anywhere: at index
    ``guess`` of ``tables``, upwards while contexts are known, else downwards to the first that is. The guess changes
    the cost, never the result.
    """
    top = len(tables) - 1
    while top >= 0 and tables[top][0] > len(window):
        top -= 1
    at = max(0, min(guess, top))
    best, length = None, 0
    falling = False
    while 0 <= at <= top:
        order, own, shared = tables[at]
        key = hash(window[-order:])
        found = own.get(key)
        if found is None:
            found = shared.get(key)
        if found is not None:
            best, length = found, order
            if falling:  # The order above is unknown.
                break
            at += 1
        elif length:  # The order below is the longest known.
            break
        else:
            falling = True
            at -= 1
    return best, length


class CountRow:
    """A Row over counts. Tokens whose whole path would be less probable than ``floor`` are not proposed."""

    __slots__ = ("_entry", "_floor", "best", "confidence")

    probs = None

    def __init__(self, entry: Entry | None, floor: float) -> None:
        self._entry = entry
        self._floor = floor
        self.best: int | None = None
        self.confidence = 0.0
        if entry is not None:
            token, self.confidence = best_of(entry)
            if self.confidence >= floor:
                self.best = token

    def share(self, token: int) -> float:
        """Estimated probability of ``token``."""
        if token == self.best:
            return self.confidence
        return 0.0 if self._entry is None else share(self._entry, token)

    def top(self, k: int) -> list[tuple[int, float]]:
        """The ``k`` most frequent continuations above the floor."""
        return [] if self._entry is None else [pair for pair in top_of(self._entry, k) if pair[1] >= self._floor]


class Walk:
    """Rows of a draft under construction: each node is matched anew with the drafted tokens before it."""

    __slots__ = ("_depth", "_min_prob", "_nodes", "_paths", "_places", "_tables", "rows")

    def __init__(
        self, tables: Tables, window: tuple[int, ...], root: tuple[Entry, int], nodes: Grown, min_prob: float
    ) -> None:
        self._tables, self._nodes, self._min_prob = tables, nodes, min_prob
        self._depth = tables[-1][0]
        entry, order = root
        # Per node: the tokens before its children, and the level at which to look for these, one above its own: where
        # the match goes on, it is one token longer.
        self._places = {-1: (window, LEVELS[order] + 1)}
        self._paths = {-1: 1.0}
        self.rows = {-1: CountRow(entry, min_prob)}

    def path(self, node: int) -> float:
        """Product of the shares on the way from the root to ``node``."""
        found = self._paths.get(node)
        if found is None:
            parent = self._nodes.parents[node]
            found = self._paths[node] = self.path(parent) * self.rows[parent].share(self._nodes.tokens[node])
        return found

    def row(self, node: int) -> CountRow:
        """What may follow ``node``; its parent must have been asked for before."""
        row = self.rows.get(node)
        if row is None:
            before, guess = self._places[self._nodes.parents[node]]
            window = (*before, self._nodes.tokens[node])[-self._depth :]
            path = self.path(node)
            entry, order = find(self._tables, window, guess)
            row = self.rows[node] = CountRow(entry, self._min_prob / path if path else 1.0)
            self._places[node] = (window, LEVELS[order] + 1)
        return row
