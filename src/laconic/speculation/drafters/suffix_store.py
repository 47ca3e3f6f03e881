"""What followed each context: counts of next tokens by the hash of the last n tokens, for several n at once.

As in a suffix tree, nothing is kept below a context that was seen once: its entry is the place itself, and the text
there says how far a match goes. When the context comes again both places move one order down. So a new token costs a
few entries however deep matches may go, and a draft that runs along a single place needs no lookups.
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
"""One continuation as ``count << 32 | token``, or several."""
Found = tuple[Entry, int, list[int] | None, int, int]
"""The longest known context: its entry, and tokens matched. If it is known from one place alone, also the text there,
the index of the token that followed, and how many tokens make it the only one; else None, 0, 0."""


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


class Store:
    """Continuation counts, one table per order. A context known at one order is known at every shorter one.

    A table holds an Entry where a context was seen more than once, else the negative number ``~(text << 32 | index)``:
    the place where it was seen. (Numbers, not tuples: a million of these would keep the garbage collector busy.)
    """

    __slots__ = ("_depth", "_levels", "_reach", "_texts", "orders", "tables")

    def __init__(self, orders: Sequence[int]) -> None:
        self.orders = tuple(orders)
        self._depth = self.orders[-1]
        self._levels = tuple(enumerate(self.orders))
        self._reach = reach(self.orders)
        self._texts: dict[int, list[int]] = {}
        self.tables: list[dict[int, Entry]] = [{} for _ in orders]

    def begin(self, head: Sequence[int] = ()) -> int:
        """Begin a text and return its number. The tokens of ``head`` are context and are not counted."""
        number = next(reversed(self._texts), -1) + 1
        self._texts[number] = list(head)
        return number

    def drop(self, number: int) -> list[int]:
        """Let go of a text none of whose tokens are counted any more; returns what would be context to more of it."""
        return self._texts.pop(number)[-self._depth :]

    def length(self, number: int) -> int:
        """Tokens of a text, those of its head included."""
        return len(self._texts[number])

    def extend(self, number: int, tokens: Iterable[int]) -> None:
        """Append ``tokens`` to a text, and count each after the contexts before it."""
        text = self._texts[number]
        at = len(text)
        tables, levels = self.tables, self._levels
        for token in tokens:
            text.append(token)
            here = ~(number << 32 | at)
            for level, order in levels:
                if order > at:
                    break
                table = tables[level]
                key = hash(tuple(text[at - order : at]))
                entry = table.setdefault(key, here)
                if entry is here:  # this very object: the context is new
                    break
                if type(entry) is not int:
                    entry.add(token)  # type: ignore[union-attr]
                    continue
                if entry < 0:
                    entry = self._move_down(level + 1, entry)
                if entry & _TOKEN == token:
                    table[key] = entry + _ONE
                else:
                    table[key] = children = Children(entry & _TOKEN, entry >> 32)
                    children.add(token)
            at += 1

    def _move_down(self, level: int, place: int) -> int:
        """Enter a place at ``level`` too, and return what it is as an Entry."""
        text, at = self._texts[~place >> 32], ~place & _TOKEN
        if level < len(self.orders) and (order := self.orders[level]) <= at:
            self.tables[level][hash(tuple(text[at - order : at]))] = place
        return _ONE | text[at]

    def remove(self, number: int, at: int) -> None:
        """Count the token at index ``at`` of a text no more."""
        text = self._texts[number]
        token = text[at]
        for level, order in self._levels:
            if order > at:
                return
            table = self.tables[level]
            key = hash(tuple(text[at - order : at]))
            entry = table.get(key)
            if entry is None:  # two contexts of one hash
                return
            if isinstance(entry, Children):
                entry.remove(token)
                if not entry.counts:
                    del table[key]
            elif entry < 0:
                del table[key]
                return
            elif entry >> 32 > 1:
                table[key] = entry - _ONE
            else:
                del table[key]

    def find(self, window: tuple[int, ...], guess: int = 0) -> Found | None:
        """The longest known suffix of ``window``; None if not even its last token was seen before another.

        A context that is known at one order is known at every shorter one, so the search may begin anywhere: at the
        order of index ``guess``, upwards while contexts are known, else downwards to the first that is. The guess
        changes the cost, never the result.
        """
        orders, tables, size = self.orders, self.tables, len(window)
        top = len(orders) - 1
        while top >= 0 and orders[top] > size:
            top -= 1
        level = max(0, min(guess, top))
        best: Entry | None = None
        length = 0
        falling = False
        while 0 <= level <= top:
            order = orders[level]
            entry = tables[level].get(hash(window[-order:]))
            if entry is not None:
                best, length = entry, order
                if falling or (type(entry) is int and entry < 0):  # nothing is known above
                    break
                level += 1
            elif length:  # the order below is the longest known
                break
            else:
                falling = True
                level -= 1
        if best is None:
            return None
        if type(best) is not int or best >= 0:
            return best, length, None, 0, 0
        text, at = self._texts.get(~best >> 32), ~best & _TOKEN
        if text is None:  # forgotten just now, by another thread
            return None
        matched, most = length, min(size, at, self._depth)
        while matched < most and text[at - matched - 1] == window[-matched - 1]:
            matched += 1
        return _ONE | text[at], matched, text, at, length

    def after(self, found: Found | None, window: tuple[int, ...]) -> Found | None:
        """``find`` for ``window``, whose last token was added to the one that ``found`` was found for.

        Along a place that is the only one the next token's place is known: a context that contains one seen once was
        seen there alone.
        """
        if found is None:
            return self.find(window)
        _, matched, text, at, unique = found
        reached = self._reach[min(matched + 1, self._depth)]
        if text is not None and self.orders[reached] > unique:
            at += 1
            if at < len(text) and text[at - 1] == window[-1]:
                return _ONE | text[at], min(matched + 1, self._depth), text, at, unique + 1
        return self.find(window, reached)

    def level_of(self, found: Found | None) -> int:
        """Index of the longest order that its match covers; 0 where there is none."""
        return 0 if found is None else self._reach[found[1]]


def reach(orders: Sequence[int]) -> list[int]:
    """Index of the longest of ``orders`` within n tokens, for each n up to the last order; 0 where none is.

    >>> reach([1, 2, 4])
    [0, 0, 1, 1, 2]
    """
    return [max((i for i, order in enumerate(orders) if order <= n), default=0) for n in range(orders[-1] + 1)]


@dataclass(slots=True)
class Document:
    """A stretch of text in a SharedStore, without gaps, that goes on from ``head``, which does not count.

    ``text`` is its number in the store, None while nothing of it is counted; ``first`` is where what counts begins.
    """

    head: list[int]
    text: int | None = None
    first: int = 0


class SharedStore:
    """A Store over all requests, made for sharing: writers take a lock, readers see single entries only.

    Holds at most ``max_tokens`` tokens; beyond that the oldest tokens of the oldest request are forgotten, as many
    as come in, so no call ever pays for a whole request.
    """

    def __init__(self, orders: Sequence[int], max_tokens: int) -> None:
        self.store = Store(orders)
        self.size = 0
        self._max_tokens = max_tokens
        self._documents: deque[Document] = deque()
        self._lock = threading.Lock()

    def extend(self, document: Document, tokens: Sequence[int]) -> None:
        """Append ``tokens`` to ``document`` and forget what exceeds the bound."""
        with self._lock:
            if document.text is None:
                document.text, document.first = self.store.begin(document.head), len(document.head)
                self._documents.append(document)
            self.store.extend(document.text, tokens)
            self.size += len(tokens)
            while self.size > self._max_tokens:
                self._forget_one()

    def _forget_one(self) -> None:
        oldest = self._documents[0]
        assert oldest.text is not None
        self.store.remove(oldest.text, oldest.first)
        oldest.first += 1
        self.size -= 1
        if oldest.first == self.store.length(oldest.text):  # more of this request will be as new as any other
            self._documents.popleft()
            oldest.head, oldest.text = self.store.drop(oldest.text), None
