"""What followed the last tokens in a request's own text, the latest time that they stood there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from laconic.speculation.drafters.few import NOTHING, Ints
from laconic.speculation.drafters.history import common_prefix

_TAIL = 32
"""Tokens compared each time to notice that text was taken back."""


class Followed:
    """An index of contexts of several lengths, which grows with the text at a cost per token."""

    __slots__ = ("_history", "_next", "_orders")

    def __init__(self, orders: Sequence[int]) -> None:
        self._orders = tuple(orders)
        self._history: list[int] = []
        self._next: dict[tuple[int, ...], int] = {}

    def read(self, tokens: list[int]) -> None:
        """Bring the index up to a text that goes on from the last one; text taken back stays: it was written once."""
        history = self._history
        seen = len(history)
        if tokens[max(0, seen - _TAIL) : seen] != history[-_TAIL:]:
            seen = common_prefix(tokens, history)
            del history[seen:]
        history += tokens[seen:]
        for order in self._orders:
            for at in range(max(seen, order), len(history)):
                self._next[tuple(history[at - order : at])] = history[at]

    def after(self, windows: Ints) -> Ints:
        """What followed each of ``windows [n, size]`` by order, ``[n, orders]``; ``NOTHING`` where it never stood."""
        texts = [tuple(window) for window in windows.tolist()]
        found = [[self._next.get(text[-order:], NOTHING) for order in self._orders] for text in texts]
        return np.array(found, dtype=np.int64).reshape(len(windows), len(self._orders))
