"""Huffman codes of limited length: the best ones, and a table that reads them."""

from __future__ import annotations

import heapq
from itertools import product

import numpy as np
import pytest

from laconic.models.dfloat11 import huffman


def counted(**some: int) -> np.ndarray:
    counts = np.zeros(256, np.int64)
    for symbol, count in some.items():
        counts[int(symbol[1:])] = count
    return counts


def cost(counts: np.ndarray, lengths: np.ndarray) -> int:
    return int(counts @ np.where(lengths == huffman.ABSENT, 0, lengths).astype(np.int64))


def unlimited(counts: np.ndarray) -> int:
    """Bits of a Huffman code without a limit: every merge costs its weight once."""
    heap, total = [int(count) for count in counts if count], 0
    heapq.heapify(heap)
    while len(heap) > 1:
        both = heapq.heappop(heap) + heapq.heappop(heap)
        total += both
        heapq.heappush(heap, both)
    return total


@pytest.mark.parametrize("seed", range(20))
def test_as_short_as_without_a_limit_where_the_limit_does_not_bind(seed: int) -> None:
    random = np.random.default_rng(seed)
    counts = np.zeros(256, np.int64)
    counts[: 2 + seed] = random.integers(1, 50, 2 + seed)
    assert cost(counts, huffman.code_lengths(counts)) == unlimited(counts)


@pytest.mark.parametrize("symbols", [15, 30, 40])
def test_no_code_is_longer_than_the_limit_and_all_codes_are_used(symbols: int) -> None:
    counts = np.zeros(256, np.int64)
    counts[100 : 100 + symbols] = [2**i for i in range(symbols)]  # without a limit as many bits as symbols
    lengths = huffman.code_lengths(counts)
    held = lengths[lengths != huffman.ABSENT]
    assert len(held) == symbols
    assert held.max() == huffman.LIMIT
    assert (2.0 ** -held.astype(float)).sum() == 1
    assert np.all(np.diff(held.astype(int)) <= 0)  # what occurs more often is never longer


@pytest.mark.parametrize("counts", [(1, 1, 2, 5, 13), (1, 2, 4, 8, 16, 32), (1, 1, 1, 1, 1, 1, 40), (3, 3, 3, 90)])
def test_of_all_codes_under_the_limit_the_shortest(monkeypatch: pytest.MonkeyPatch, counts: tuple[int, ...]) -> None:
    monkeypatch.setattr(huffman, "LIMIT", 3)
    every = (held for held in product((1, 2, 3), repeat=len(counts)) if sum(2.0**-n for n in held) == 1)
    best = min(sum(n * count for n, count in zip(held, counts, strict=True)) for held in every)
    padded = np.array([*counts, *[0] * (256 - len(counts))], np.int64)
    assert cost(padded, huffman.code_lengths(padded)) == best


def test_all_256_symbols_and_two_and_one() -> None:
    lengths = huffman.code_lengths(np.ones(256, np.int64))
    assert set(lengths.tolist()) == {8}
    assert huffman.code_lengths(counted(s3=1, s200=10**12))[[3, 200]].tolist() == [1, 1]
    single = huffman.code_lengths(counted(s7=5))
    assert single[7] == 0
    assert (huffman.table(single) == 7).all()


def test_the_table_reads_every_code_whatever_follows() -> None:
    random = np.random.default_rng(0)
    lengths = huffman.code_lengths(random.geometric(0.001, 256) * (random.random(256) < 0.3))
    codes, table = huffman.codes(lengths), huffman.table(lengths)
    for symbol in np.flatnonzero(lengths != huffman.ABSENT):
        length = int(lengths[symbol])
        begin = int(codes[symbol]) << (huffman.LIMIT - length)
        assert (table[begin : begin + (1 << huffman.LIMIT - length)] == (length << 8 | symbol)).all()


@pytest.mark.parametrize("held", [{}, {1: 1}, {1: 1, 2: 2}, {1: 0, 2: 1}, {1: 1, 2: 1, 3: 1}, {1: 1, 2: 13, 3: 13}])
def test_lengths_of_no_complete_code_are_refused(held: dict[int, int]) -> None:
    lengths = np.full(256, huffman.ABSENT, np.uint8)
    for symbol, length in held.items():
        lengths[symbol] = length
    with pytest.raises(ValueError, match="no complete code"):
        huffman.table(lengths)


def test_entropy() -> None:
    assert huffman.entropy(np.zeros(256, np.int64)) == 0
    assert huffman.entropy(counted(s1=9)) == 0
    assert huffman.entropy(counted(s1=2, s2=1, s3=1)) == 1.5
