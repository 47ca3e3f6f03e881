"""Where the last tokens stood before in a request's own text: what copying drafters share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from laconic.speculation.drafters.few import NOTHING, Ints
from laconic.speculation.drafters.history import common_prefix

_TAIL = 32
"""Tokens compared each time to notice that a controller has taken text back."""


class Index:
    """The latest place behind every context of some lengths in a text; it grows with the text at a cost per token.

    A context enters once a token follows it, so the end of the text never finds itself.
    """

    __slots__ = ("_orders", "_places", "history")

    def __init__(self, orders: Iterable[int]) -> None:
        self.history: list[int] = []
        """The text as it was read last."""
        self._orders = tuple(orders)
        self._places: dict[tuple[int, ...], int] = {}

    def read(self, tokens: list[int]) -> None:
        """Bring the index up to a text. Where the last one was taken back in part, which is rare, it starts over."""
        history = self.history
        seen = len(history)
        if tokens[max(0, seen - _TAIL) : seen] != history[-_TAIL:]:
            del history[common_prefix(tokens, history) :]
            self._places.clear()
            seen = 0
        history += tokens[len(history) :]
        for order in self._orders:
            for end in range(max(seen, order), len(history)):
                self._places[tuple(history[end - order : end])] = end

    def place(self, context: Sequence[int]) -> int | None:
        """Where the token stands that followed ``context`` last; None where none did."""
        return self._places.get(tuple(context))

    def followed(self, windows: Ints) -> Ints:
        """The token that followed each of ``windows [n, size]`` by order, ``[n, orders]``; else ``NOTHING``."""
        texts = [tuple(window) for window in windows.tolist()]
        places = [[self._places.get(text[-order:]) for order in self._orders] for text in texts]
        found = [[NOTHING if place is None else self.history[place] for place in row] for row in places]
        return np.array(found, dtype=np.int64).reshape(len(windows), len(self._orders))
