"""What the target thought came next, by the last n tokens, for several n at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from laconic.models.native import bf16
from laconic.speculation.base import HEARD
from laconic.speculation.drafters.few import NOTHING, Floats, Ints

Mask = NDArray[np.bool_]
Keys = NDArray[np.uint64]

_FACTORS = np.random.default_rng(0).integers(1 << 62, 1 << 63, HEARD, dtype=np.uint64) | np.uint64(1)
_MIX, _HALF = np.uint64(0x9E3779B97F4A7C15), np.uint64(32)


class NGrams:
    """The latest candidates after every context of the lengths ``orders``, in a table of ``2 ** bits`` places for each,
    or of bits of its own.

    Each context has one place, by its hash; the newer of two that fall together stays, so memory is bounded and nothing
    is ever cleared. A context is known by all 64 bits of its hash. Contexts come as windows ``[n, HEARD]``, the newest
    token last; one that a text is too short for is neither kept nor found.
    """

    def __init__(self, orders: Sequence[int], k: int, bits: int | Sequence[int]) -> None:
        self.orders, self.k = tuple(orders), k
        each = [bits] * len(orders) if isinstance(bits, int) else list(bits)
        self._columns = np.array(orders) - 1
        self._shifts = np.array([64 - one for one in each], dtype=np.uint64)
        ends = np.cumsum([1 << one for one in each])
        size = int(ends[-1])  # zeros that are never touched take no memory
        self._keys: Keys = np.zeros(size, dtype=np.uint64)
        self._tokens: NDArray[np.int32] = np.zeros((size, k), dtype=np.int32)
        self._logits: NDArray[np.float16] = np.zeros((size, k), dtype=np.float16)
        self._starts: Ints = np.array([0, *ends[:-1]])
        self._orders: Ints = np.array(orders)
        held = self._keys, self._tokens, self._logits, self._orders, self._starts, self._shifts, _FACTORS
        self.grams = bf16.Grams(*(part.ctypes.data for part in held), int(_MIX), len(orders), k, HEARD)

    def _places(self, windows: Ints) -> tuple[Keys, Ints]:
        """Keys and places of each context ``[n, orders]``; key 0 for what is no context."""
        newest_first = windows[:, ::-1]
        sums = ((newest_first + 2).astype(np.uint64) * _FACTORS).cumsum(1)[:, self._columns]
        keys = sums ^ (sums >> _HALF)
        keys *= _MIX
        places: Ints = (keys >> self._shifts).astype(np.int64) + self._starts
        keys[newest_first[:, self._columns] == NOTHING] = 0
        return keys, places

    def learn(self, windows: Ints, tokens: Ints, logits: Floats) -> None:
        """Keep ``tokens`` and ``logits [n, k]`` after each of ``windows``, the last of equal ones.

        ``NOTHING`` among the tokens comes with a logit of minus infinity.
        """
        if (kernels := bf16.loaded()) is not None:
            types = np.int64, np.int64, np.float64
            parts = [np.ascontiguousarray(p, t) for p, t in zip((windows, tokens, logits), types, strict=True)]
            kernels.ngrams_learn(self.grams, parts[0].ctypes.data, len(windows), *(p.ctypes.data for p in parts[1:]))
            return
        keys, places = self._places(windows)
        at, each = places.T.ravel(), len(self.orders)  # level by level, so that the last of equal ones stays
        self._keys[at] = keys.T.ravel()
        self._tokens[at], self._logits[at] = np.tile(tokens, (each, 1)), np.tile(half(logits), (each, 1))

    def put(self, level: int, windows: Ints, tokens: NDArray[Any], logits: NDArray[Any]) -> None:
        """The same for one of the orders alone."""
        keys, places = self._places(windows)
        at = places[:, level]
        self._keys[at], self._tokens[at], self._logits[at] = keys[:, level], tokens, half(logits)

    def look(self, windows: Ints) -> tuple[Mask, Ints, Floats]:
        """Which contexts are known ``[n, orders]``, and their tokens and logits ``[n, orders, k]``."""
        keys, places = self._places(windows)
        known: Mask = (self._keys[places] == keys) & (keys != 0)
        return known, self._tokens[places].astype(np.int64), self._logits[places].astype(np.float64)


def shares(tables: Sequence[NGrams], windows: Ints, heat: float) -> tuple[Mask, Ints, Floats]:
    """What some tables know of ``windows [n, HEARD]``: which contexts ``[n, levels]``, and of each its tokens and their
    shares at a temperature, ``[n, levels, k]``; the levels are those of all tables. Nothing has no share.
    """
    if (kernels := bf16.loaded()) is None:
        known, tokens, logits = (
            np.concatenate(part, 1) for part in zip(*(t.look(windows) for t in tables), strict=True)
        )
        with np.errstate(under="ignore"):
            weights = np.exp(logits / heat) * (tokens != NOTHING)
        return known, tokens, weights / np.maximum(weights.sum(-1, keepdims=True), 1e-30)
    windows, count = np.ascontiguousarray(windows, np.int64), len(windows)
    wide, k = sum(len(table.orders) for table in tables), tables[0].k
    known = np.empty((count, wide), dtype=np.bool_)
    tokens, found = np.empty((count, wide, k), dtype=np.int64), np.empty((count, wide, k))
    to, first = (known.ctypes.data, tokens.ctypes.data, found.ctypes.data), 0
    for table in tables:
        at = to[0] + first, to[1] + 8 * first * k, to[2] + 8 * first * k
        kernels.ngrams_look(table.grams, windows.ctypes.data, count, heat, wide, *at)
        first += len(table.orders)
    return known, tokens, found


def half(logits: NDArray[Any]) -> NDArray[np.float16]:
    """Logits as they are kept; half precision holds no more than this."""
    held: NDArray[np.float16] = np.maximum(logits, -60_000.0).astype(np.float16)
    return held
