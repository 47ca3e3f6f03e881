"""What followed each context: counts of next tokens by the hash of the last n tokens, for several n at once."""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

ORDERS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Context lengths that are stored; a match is found at the longest of these that it covers."""

_ONE = 1 << 32
_TOKEN = _ONE - 1


class Children:
    """Counts of the tokens that followed a context, when more than one did. The latest of equals is ``best``."""

    __slots__ = ("best", "counts", "total")

    def __init__(self, token: int, count: int) -> None:
        self.counts = {token: count}
        self.total = count
        self.best = token

    def add(self, token: int) -> None:
        """Count ``token`` once more."""
        counts = self.counts
        count = counts[token] = counts.get(token, 0) + 1
        self.total += 1
        if count >= counts[self.best]:
            self.best = token

    def remove(self, token: int) -> None:
        """Count ``token`` once less."""
        self.total -= 1
        self.counts[token] -= 1
        if not self.counts[token]:
            del self.counts[token]
        if token == self.best and self.counts:
            self.best = max(self.counts, key=self.counts.__getitem__)


Entry = int | Children
"""One continuation as ``count << 32 | token`` (most contexts have just one), or several."""


def best_of(entry: Entry) -> tuple[int, float]:
    """The likeliest continuation and its share of the counts."""
    if isinstance(entry, int):
        return entry & _TOKEN, 1.0
    return entry.best, share(entry, entry.best)


def share(entry: Entry, token: int) -> float:
    """``count(token) / count(context)``. The bounds matter only while another thread is evicting this entry."""
    if isinstance(entry, int):
        return float(entry & _TOKEN == token)
    return min(1.0, entry.counts.get(token, 0) / max(1, entry.total))


def top_of(entry: Entry, k: int) -> list[tuple[int, float]]:
    """The ``k`` likeliest continuations with their shares, best first."""
    if isinstance(entry, int):
        return [best_of(entry)]
    counts = list(entry.counts.items())  # A snapshot: another request may be adding to a shared store.
    return [(t, min(1.0, c / max(1, entry.total))) for t, c in heapq.nlargest(k, counts, key=lambda item: item[1])]


def keys_of(window: tuple[int, ...], orders: Sequence[int]) -> list[int]:
    """Hashes of the last n tokens of ``window``, shortest n first, for each of ``orders`` that fits."""
    size = len(window)
    if size < orders[-1]:
        orders = [n for n in orders if n <= size]
    return [hash(window[-n:]) for n in orders]


class Store:
    """Continuation counts, one table per order. A context known at one order is known at every shorter one."""

    __slots__ = ("tables",)

    def __init__(self, orders: Sequence[int]) -> None:
        self.tables: list[dict[int, Entry]] = [{} for _ in orders]

    def add(self, keys: Sequence[int], token: int) -> None:
        """Count ``token`` after the contexts ``keys`` (from ``keys_of``)."""
        once = _ONE | token
        for table, key in zip(self.tables, keys, strict=False):
            entry = table.setdefault(key, once)
            if entry is once:  # This very object: the context is new. One lookup instead of two, and most are new.
                continue
            if type(entry) is int:
                if entry & _TOKEN == token:
                    table[key] = entry + _ONE
                else:
                    table[key] = children = Children(entry & _TOKEN, entry >> 32)
                    children.add(token)
            else:
                entry.add(token)  # type: ignore[union-attr]

    def remove(self, keys: Sequence[int], token: int) -> None:
        """Undo one ``add``."""
        for table, key in zip(self.tables, keys, strict=False):
            entry = table[key]
            if isinstance(entry, int):
                if entry >> 32 > 1:
                    table[key] = entry - _ONE
                else:
                    del table[key]
            else:
                entry.remove(token)
                if not entry.counts:
                    del table[key]


@dataclass(slots=True)
class Document:
    """A stretch of text in a SharedStore, without gaps. Its ``first`` tokens are context and do not count."""

    tokens: list[int]
    first: int
    queued: bool = field(default=False)


class SharedStore:
    """A Store over all requests, made for sharing: writers take a lock, readers see single entries only.

    Holds at most ``max_tokens`` tokens; beyond that the oldest tokens of the oldest request are forgotten, as many
    as come in, so no call ever pays for a whole request. About 1 kB per token at sixteen tokens of depth.
    """

    def __init__(self, orders: Sequence[int], max_tokens: int) -> None:
        self.store = Store(orders)
        self.size = 0
        self._orders = orders
        self._max_tokens = max_tokens
        self._documents: deque[Document] = deque()
        self._lock = threading.Lock()

    def extend(self, document: Document, steps: Sequence[tuple[list[int], int]]) -> None:
        """Append ``(keys, token)`` steps to ``document`` and forget what exceeds the bound."""
        with self._lock:
            if not document.queued:
                document.queued = True
                self._documents.append(document)
            for keys, token in steps:
                self.store.add(keys, token)
                document.tokens.append(token)
            self.size += len(steps)
            while self.size > self._max_tokens:
                self._forget_one()

    def _forget_one(self) -> None:
        oldest = self._documents[0]
        end = oldest.first
        if end < len(oldest.tokens):
            window = tuple(oldest.tokens[max(0, end - self._orders[-1]) : end])
            self.store.remove(keys_of(window, self._orders), oldest.tokens[end])
            oldest.first += 1
            self.size -= 1
        else:
            oldest.queued = False
            self._documents.popleft()
