"""Huffman codes over bytes, no code longer than a table can look up at once, in canonical form.

Lengths are the best ones under that limit, by package-merge (Larmore and Hirschberg, "A fast algorithm for optimal
length-limited Huffman codes", 1990). A canonical code is known by its lengths alone: codes of one length are numbered
in the order of their symbols, shorter ones come first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LIMIT = 12
"""Bits of the longest code. A table of 2^12 entries of two bytes stays in a processor's first cache."""
ABSENT = 255
"""In place of a length: the symbol does not occur. One that occurs alone has a code of no bits."""

Lengths = NDArray[np.uint8]


def code_lengths(counts: NDArray[np.int64]) -> Lengths:
    """Bits ``[256]`` of each symbol's code, for ``counts [256]`` of which one at least is not zero."""
    lengths = np.full(256, ABSENT, np.uint8)
    symbols = np.flatnonzero(counts)
    if len(symbols) == 1:
        lengths[symbols] = 0
        return lengths
    # A coin is what it costs and how often each symbol is in it; at every level coins are paired into dearer ones.
    single = sorted(
        ((int(counts[symbol]), place) for place, symbol in enumerate(symbols)), key=lambda coin: (coin[0], coin[1])
    )
    one = np.eye(len(symbols), dtype=np.int64)
    coins = [(cost, one[place]) for cost, place in single]
    level = coins
    for _ in range(LIMIT - 1):
        pairs = zip(level[::2], level[1::2], strict=False)
        packages = [(first[0] + second[0], first[1] + second[1]) for first, second in pairs]
        level = sorted(coins + packages, key=lambda coin: coin[0])
    lengths[symbols] = sum((held for _, held in level[: 2 * len(symbols) - 2]), np.zeros(len(symbols), np.int64))
    return lengths


def codes(lengths: Lengths) -> NDArray[np.uint64]:
    """The code ``[256]`` of each symbol, its first bit the highest; 0 for those that do not occur."""
    made = np.zeros(256, np.uint64)
    value = before = 0
    for symbol in _order(lengths):
        length = int(lengths[symbol])
        value <<= length - before
        made[symbol] = value
        value, before = value + 1, length
    return made


def table(lengths: Lengths) -> NDArray[np.uint16]:
    """What the next 12 bits begin with: ``[4096]``, the length of the code in the high byte, its symbol in the low.

    Raises ValueError for lengths ``[256]`` that are those of no complete code, in which any bits mean something.
    """
    order = _order(lengths)
    sizes = lengths[order].astype(np.int64)
    if not len(order) or sizes[-1] > LIMIT or (runs := 1 << (LIMIT - sizes)).sum() != 1 << LIMIT:
        raise ValueError("the code lengths are those of no complete code")
    return np.repeat((sizes << 8 | order).astype(np.uint16), runs)


def entropy(counts: NDArray[np.int64]) -> float:
    """Bits a symbol that no code by symbols can go below; 0 where there is none."""
    present = counts[counts > 0]
    shares = present / max(int(present.sum()), 1)
    return float(-(shares * np.log2(shares)).sum()) if len(shares) else 0.0


def _order(lengths: Lengths) -> NDArray[np.int64]:
    """The symbols that occur, in the order of their codes."""
    symbols = np.flatnonzero(lengths != ABSENT)
    return symbols[np.argsort(lengths[symbols], kind="stable")]
