"""Reading suffix counts: the longest known context, and the rows of a draft that grows from it."""

from __future__ import annotations

from laconic.speculation.base import Grown
from laconic.speculation.drafters.suffix_store import Entry, best_of, share, top_of

Tables = list[tuple[int, dict[int, Entry], dict[int, Entry]]]
"""``(order, this request's table, the shared table)``, shortest order first."""


def find(tables: Tables, window: tuple[int, ...]) -> tuple[Entry | None, int]:
    """Continuations of the longest known suffix of ``window`` and its length; the request's own before shared."""
    entry, length = None, 0
    size = len(window)
    for order, own, shared in tables:
        if order > size:
            break
        key = hash(window[-order:])
        found = own.get(key)
        if found is None:
            found = shared.get(key)
            if found is None:  # Unknown at this order, so unknown at every longer one.
                break
        entry, length = found, order
    return entry, length


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
            self.best = token if self.confidence >= floor else None

    def share(self, token: int) -> float:
        """Estimated probability of ``token``."""
        return 0.0 if self._entry is None else share(self._entry, token)

    def top(self, k: int) -> list[tuple[int, float]]:
        """The ``k`` most frequent continuations above the floor."""
        return [] if self._entry is None else [pair for pair in top_of(self._entry, k) if pair[1] >= self._floor]


class Walk:
    """Rows of a draft under construction: each node is matched anew with the drafted tokens before it."""

    def __init__(self, tables: Tables, window: tuple[int, ...], root: Entry, nodes: Grown, min_prob: float) -> None:
        self._tables, self._nodes, self._min_prob = tables, nodes, min_prob
        self._depth = tables[-1][0]
        self._windows = {-1: window}
        self._paths = {-1: 1.0}
        self._rows = {-1: CountRow(root, min_prob)}

    def path(self, node: int) -> float:
        """Product of the shares on the way from the root to ``node``."""
        found = self._paths.get(node)
        if found is None:
            parent = self._nodes.parents[node]
            found = self._paths[node] = self.path(parent) * self._rows[parent].share(self._nodes.tokens[node])
        return found

    def row(self, node: int) -> CountRow:
        """What may follow ``node``; its parent must have been asked for before."""
        row = self._rows.get(node)
        if row is None:
            window = (*self._windows[self._nodes.parents[node]], self._nodes.tokens[node])[-self._depth :]
            path = self.path(node)
            entry, _ = find(self._tables, window)
            row = self._rows[node] = CountRow(entry, self._min_prob / path if path else 1.0)
            self._windows[node] = window
        return row
