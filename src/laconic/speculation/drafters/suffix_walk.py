"""Reading suffix counts: the longest known context, and the rows of a draft that grows from it."""

from __future__ import annotations

from collections.abc import Sequence

from laconic.speculation.base import Grown
from laconic.speculation.drafters.suffix_store import Entry, Found, Store, best_of, share, top_of

Finds = tuple[Found | None, ...]
"""The longest known context in each of several stores."""


def longest(stores: Sequence[Store], found: Finds) -> tuple[Entry | None, int]:
    """Continuations of the longest of these contexts and its order; the earlier store's where they are equally long.

    All stores have the same orders.
    """
    best, level = None, -1
    for store, one in zip(stores, found, strict=True):
        if one is not None and (mine := store.level_of(one)) > level:
            best, level = one[0], mine
    return best, stores[0].orders[level] if best is not None else 0


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
    """Rows of a draft under construction: each node is matched anew with the drafted tokens before it.

    ``root`` is what the stores know of ``window``, the text that the draft continues.
    """

    __slots__ = ("_depth", "_min_prob", "_nodes", "_paths", "_places", "_stores", "rows")

    def __init__(
        self, stores: Sequence[Store], window: tuple[int, ...], root: Finds, nodes: Grown, min_prob: float, depth: int
    ) -> None:
        self._stores, self._nodes, self._min_prob, self._depth = stores, nodes, min_prob, depth
        # Per node: the tokens before its children, and the longest contexts known of them.
        self._places = {-1: (window, root)}
        self._paths = {-1: 1.0}
        self.rows = {-1: CountRow(longest(stores, root)[0], min_prob)}

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
            before, known = self._places[self._nodes.parents[node]]
            window = (*before, self._nodes.tokens[node])[-self._depth :]
            found = tuple([store.after(one, window) for store, one in zip(self._stores, known, strict=True)])
            path = self.path(node)
            entry = longest(self._stores, found)[0]
            row = self.rows[node] = CountRow(entry, self._min_prob / path if path else 1.0)
            self._places[node] = (window, found)
        return row
