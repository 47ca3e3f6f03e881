"""bfloat16 weights in fewer bits, and back, bit for bit.

Of a bfloat16's bits the sign and the seven of the mantissa are as good as random in trained weights, and the exponent
is not: most weights of a tensor share a dozen exponents. DFloat11 (Zhang et al., "70% Size, 100% Accuracy: Lossless LLM
Compression for Efficient GPU Inference via Dynamic-Length Float", 2025, section 3.1) keeps the former as they are and
gives exponents a Huffman code. Here codes are at most 12 bits long, and every 4,096 weights are a block whose first bit
is known, so that blocks can be decoded alone and side by side. There are two decoders: C (``native/dfloat11.c``), and
NumPy where that cannot be had.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from laconic.models.dfloat11 import huffman, native

BLOCK = 4096
"""Weights of a block; also in ``native/dfloat11.c``."""
SPARE = 8
"""Bytes behind the last code, so that a decoder may read eight from any bit of it."""
_CHUNK = 16 * BLOCK
"""Weights that are encoded at a time: what that takes stays in a processor's second cache."""


class Damaged(ValueError):
    """Parts that no encoder has written; the message says what is wrong."""


@dataclass(frozen=True, eq=False)
class Coded:
    """A tensor of bfloat16, coded. Raises Damaged for parts that do not go together.

    ``rest``, uint8, has the tensor's shape: sign and mantissa of each weight. ``code [bytes]``, uint8: the exponents'
    codes on end, first bit highest. ``offsets [blocks + 1]``, int64: the bit at which each block begins, and where the
    last ends. ``lengths [256]``, uint8: bits of each exponent's code (huffman.ABSENT for none).
    """

    rest: Tensor
    code: Tensor
    offsets: Tensor
    lengths: Tensor

    def __post_init__(self) -> None:
        blocks = math.ceil(self.rest.numel() / BLOCK)
        for name, tensor, dtype, shape in (
            ("rest", self.rest, torch.uint8, None),
            ("code", self.code, torch.uint8, (self.code.numel(),)),
            ("offsets", self.offsets, torch.int64, (blocks + 1,)),
            ("lengths", self.lengths, torch.uint8, (256,)),
        ):
            if tensor.dtype != dtype or (shape is not None and tuple(tensor.shape) != shape):
                raise Damaged(f"its {name} are {list(tensor.shape)} of {tensor.dtype}")
        starts = self.offsets
        if not blocks or int(starts[0]) != 0 or bool((starts[1:] < starts[:-1]).any()) or int(starts[-1]) > self.bits:
            raise Damaged("its block offsets do not rise from 0 to the end of its code")
        try:
            self.table  # noqa: B018  (made now, so that nothing is decoded with a wrong one)
        except ValueError as error:
            raise Damaged(str(error)) from error

    @property
    def bits(self) -> int:
        """Bits of the code, those included that fill its last byte."""
        return 8 * (self.code.numel() - SPARE)

    @property
    def blocks(self) -> int:
        """Blocks, of which the last may be shorter."""
        return self.offsets.numel() - 1

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return sum(part.nbytes for part in (self.rest, self.code, self.offsets, self.lengths))

    @cached_property
    def table(self) -> NDArray[np.uint16]:
        """See huffman.table."""
        return huffman.table(self.lengths.numpy())

    def decode(self) -> Tensor:
        """The tensor, bfloat16. Raises Damaged where the code is none of so many weights."""
        made = torch.empty(self.rest.shape, dtype=torch.bfloat16, device="cpu")
        self.decode_into(made.view(-1))
        return made

    def decode_block(self, block: int) -> Tensor:
        """The weights ``[up to 4096]`` of one block; see :meth:`decode`."""
        size = min(BLOCK, self.rest.numel() - block * BLOCK)
        made = torch.empty(size, dtype=torch.bfloat16, device="cpu")
        self.decode_into(made, block, block + 1)
        return made

    def decode_into(self, out: Tensor, first: int = 0, last: int | None = None) -> None:
        """The weights of blocks ``first`` to before ``last`` into ``out``: bfloat16, flat, contiguous; see decode."""
        last = self.blocks if last is None else last
        size = min(last * BLOCK, self.rest.numel()) - first * BLOCK
        if not 0 <= first < last <= self.blocks or out.shape != (size,) or not out.is_contiguous():
            raise IndexError(f"blocks {first} to {last} of {self.blocks} do not go into {list(out.shape)}")
        if out.dtype != torch.bfloat16:
            raise TypeError(f"weights are bfloat16, not {out.dtype}")
        made = out.view(torch.int16).numpy().view(np.uint16)
        rest, code, offsets = self.rest.contiguous().view(-1).numpy(), self.code.numpy(), self.offsets.numpy()
        decode = native.decoder() or _decode
        bad = decode(code, self.bits, offsets, self.table, rest, first, last, made)
        if bad >= 0:
            raise Damaged(f"block {bad} is no code of its weights")


def exponents(tensor: Tensor) -> NDArray[np.int64]:
    """How often each of the 256 exponents occurs in a tensor of bfloat16."""
    counts = np.zeros(256, np.int64)
    bits = _bits(tensor)
    for start in range(0, len(bits), _CHUNK):
        counts += np.bincount((bits[start : start + _CHUNK] >> 7).astype(np.uint8), minlength=256)
    return counts


def encode(tensor: Tensor) -> Coded | None:
    """A tensor of bfloat16, coded; None where that would take no fewer bytes."""
    bits, counts = _bits(tensor), exponents(tensor)
    if not len(bits):
        return None
    lengths = huffman.code_lengths(counts)
    held = lengths != huffman.ABSENT
    total = int((counts[held] * lengths[held]).sum())
    blocks = math.ceil(len(bits) / BLOCK)
    code_bytes = math.ceil(total / 8) + SPARE
    if len(bits) + code_bytes + 8 * (blocks + 1) + len(lengths) >= 2 * len(bits):
        return None
    codes, sizes = huffman.codes(lengths), np.where(held, lengths, 0).astype(np.int64)
    words = np.zeros(total // 64 + 2, np.uint64)
    rest, offsets = np.empty(len(bits), np.uint8), np.zeros(blocks + 1, np.int64)
    at = 0
    for start in range(0, len(bits), _CHUNK):
        some = bits[start : start + _CHUNK]
        rest[start : start + _CHUNK] = some >> 8 & 0x80 | some & 0x7F
        exponent = (some >> 7).astype(np.uint8)
        size = sizes[exponent]
        ends = at + np.cumsum(size)
        first = start // BLOCK
        own = ends[BLOCK - 1 :: BLOCK]
        offsets[first + 1 : first + 1 + len(own)] = own
        _write(words, at, codes[exponent], size)
        at = int(ends[-1])
    offsets[-1] = at
    code = words.astype(">u8").view(np.uint8)[:code_bytes].copy()
    parts = (torch.from_numpy(part) for part in (code, offsets, lengths))
    return Coded(torch.from_numpy(rest).view(tensor.shape), *parts)


def _bits(tensor: Tensor) -> NDArray[np.uint16]:
    return tensor.detach().contiguous().view(-1).view(torch.int16).numpy().view(np.uint16)


def _write(words: NDArray[np.uint64], at: int, values: NDArray[np.uint64], sizes: NDArray[np.int64]) -> None:
    """Put ``values`` of ``sizes`` bits, on end, into ``words`` from bit ``at`` on."""
    if odd := -len(values) % 4:
        values, sizes = np.pad(values, (0, odd)), np.pad(sizes, (0, odd))
    for _ in range(2):  # four codes of up to 12 bits make one of up to 48
        values = values[::2] << sizes[1::2].astype(np.uint64) | values[1::2]
        sizes = sizes[::2] + sizes[1::2]
    starts = at + np.cumsum(sizes) - sizes
    word, room = starts >> 6, 64 - (starts & 63) - sizes
    over = np.maximum(-room, 0).astype(np.uint64)  # bits that go into the next word
    here = np.where(room >= 0, values << np.maximum(room, 0).astype(np.uint64), values >> over)
    there = np.where(over > 0, values << (np.uint64(64) - over), np.uint64(0))
    groups = np.flatnonzero(np.diff(word, prepend=-1))
    words[word[groups]] |= np.bitwise_or.reduceat(here, groups)
    words[word[groups] + 1] |= np.bitwise_or.reduceat(there, groups)


def _decode(
    code: NDArray[np.uint8],
    bits: int,
    offsets: NDArray[np.int64],
    table: NDArray[np.uint16],
    rest: NDArray[np.uint8],
    first: int,
    last: int,
    out: NDArray[np.uint16],
) -> int:
    """The twin of ``native/dfloat11.c``, a code of every block at a time; -1, or the first block that is damaged."""
    ends = offsets[first + 1 : last + 1]
    at, bad = offsets[first:last].copy(), np.zeros(last - first, bool)
    sizes = np.minimum(len(rest) - BLOCK * np.arange(first, last), BLOCK)
    found = np.zeros((last - first, BLOCK), np.uint8)
    wide = code.astype(np.uint32)
    for i in range(int(sizes.max())):
        live = slice(0, int((sizes > i).sum()))  # of all blocks only the last may be shorter
        bad[live] |= at[live] > ends[live]
        here = np.minimum(at[live], ends[live])
        byte = here >> 3
        next_ = wide[byte] << 16 | wide[byte + 1] << 8 | wide[byte + 2]
        entry = table[next_ >> (24 - huffman.LIMIT - (here & 7)).astype(np.uint32) & (1 << huffman.LIMIT) - 1]
        found[live, i] = entry & 0xFF
        at[live] += entry >> 8
    wrong = np.flatnonzero(bad | (at != ends))
    if len(wrong):
        return first + int(wrong[0])
    mine = rest[first * BLOCK : last * BLOCK].astype(np.uint16)
    exponent = found.reshape(-1)[: len(out)].astype(np.uint16)
    out[:] = (mine & 0x80) << 8 | exponent << 7 | mine & 0x7F
    return -1
