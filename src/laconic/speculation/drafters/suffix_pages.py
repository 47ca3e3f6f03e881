"""Texts in pages of flat integers: they grow beside each other, and the oldest page is written anew."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

SIZE = 16
"""Tokens in a page."""

if TYPE_CHECKING:
    Ints = array[int] | memoryview[int]


@dataclass(slots=True)
class Document:
    """A text that grows. ``tail`` is what its next token follows, as far as it matters; the tokens that it is made with
    are context only. ``turn`` numbers the page that is being written, -1 before the first."""

    tail: Sequence[int] = ()
    turn: int = -1


class Pages:
    """Tokens of many texts, and with each token a few integers more (``columns``).

    ``bound`` is the most tokens that are kept, None for all. Bounded pages are set aside at once (the machine gives
    memory when it is first written) and taken in turn, so that the one taken longest ago is forgotten. A place is the
    index of a token. Of each page ``_fill`` says how many tokens are written, and ``_first`` how many of them are
    context only. Numbers of pages in ``_after`` and ``_before`` are one more, so that 0 says none.
    """

    __slots__ = ("_after", "_before", "_fill", "_first", "_number", "_taken", "columns", "size", "tokens")

    def __init__(self, columns: int, bound: int | None = None) -> None:
        self.size = SIZE if bound is None else max(1, min(SIZE, bound // 8))
        self._number = None if bound is None else bound // self.size
        self._taken = 0
        self.tokens, *self.columns = [self._ints((self._number or 0) * self.size) for _ in range(columns + 1)]
        self._fill, self._first, self._after, self._before = [self._ints(self._number or 0) for _ in range(4)]

    def _ints(self, size: int) -> Ints:
        return array("i") if self._number is None else zeros(size)

    @property
    def nbytes(self) -> int:
        """Bytes of everything that is set aside."""
        return sum(memoryview(ints).nbytes for ints in (self.tokens, *self.columns, *self._of_page))

    @property
    def _of_page(self) -> tuple[Ints, ...]:
        return self._fill, self._first, self._after, self._before

    def write(self, document: Document, written: Sequence[int]) -> list[int]:
        """Write at the end of a text, and return the places.

        Where the page before them has been forgotten, or there is none, the tail is written first, so that what follows
        is found by what came before.
        """
        turn = document.turn
        if turn >= 0 and (self._number is None or self._taken - turn <= self._number):
            return self._write(self._page(turn), document, written)
        page = -1
        for place in self._write(page, document, document.tail):
            page, within = divmod(place, self.size)
            self._first[page] = within + 1
        return self._write(page, document, written)

    def _write(self, page: int, document: Document, written: Sequence[int]) -> list[int]:
        size, tokens, filled = self.size, self.tokens, self._fill
        fill = filled[page] if page >= 0 else size
        places = []
        for token in written:
            if fill == size:
                page = self._take(page, document)
                fill = 0
            place = page * size + fill
            tokens[place] = token
            fill += 1
            filled[page] = fill
            places.append(place)
        return places

    def _page(self, turn: int) -> int:
        return turn if self._number is None else turn % self._number

    def _take(self, last: int, document: Document) -> int:
        """The page that comes after ``last``, forgetting what it held."""
        document.turn = self._taken
        page = self._page(self._taken)
        self._taken += 1
        if self._number is None:
            for ints in (self.tokens, *self.columns):
                ints.extend(array("i", bytes(4 * self.size)))  # type: ignore[union-attr]
            for ints in self._of_page:
                ints.append(0)  # type: ignore[union-attr]
        elif self._fill[page]:
            if self._after[page]:
                self._before[self._after[page] - 1] = 0
            self._fill[page] = self._first[page] = self._after[page] = 0
        if last == page:  # one page is all there is
            last = -1
        self._before[page] = last + 1
        if last >= 0:
            self._after[last] = page + 1
        return page

    def matches(self, place: int, backwards: Sequence[int]) -> int:
        """How many tokens before ``place`` are these, the nearest first; -1 where there is context or nothing."""
        size = self.size
        page = place // size
        low = page * size
        if not self._first[page] <= place - low < self._fill[page]:
            return -1
        tokens, length = self.tokens, 0
        for token in backwards:
            if place == low:
                page = self._before[page] - 1
                if page < 0:
                    break
                low = page * size
                place = low + size
            place -= 1
            if tokens[place] != token:
                break
            length += 1
        return length

    def run(self, place: int, most: int, text: Document | None = None) -> list[int]:
        """What is written from ``place`` on, at most so many tokens.

        Where it comes to the end of ``text``, which goes on as it did at ``place``, it repeats itself.
        """
        page = place // self.size
        end = page * self.size + self._fill[page]
        found: list[int] = self.tokens[place : min(place + most, end)].tolist()
        if len(found) == most:
            return found
        while len(found) < most and self._after[page]:
            page = self._after[page] - 1
            first = page * self.size
            found += self.tokens[first : first + min(most - len(found), self._fill[page])].tolist()
        if found and len(found) < most and text is not None and page == self._page(text.turn):
            found = (found * (most // len(found) + 1))[:most]
        return found


def zeros(size: int) -> memoryview[int]:
    """32-bit integers; the machine gives memory when one is first written."""
    return memoryview(cast(Any, np.zeros(size, np.int32)))
