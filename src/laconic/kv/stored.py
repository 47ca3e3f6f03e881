"""Numbers of few bits side by side in bytes, and entries that are stored so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import AfterValidator
from torch import Tensor


def _known(bits: int) -> int:
    if bits not in (2, 3, 4, 8):
        raise ValueError("numbers are stored in 2, 3, 4 or 8 bits")
    return bits


Bits = Annotated[int, AfterValidator(_known)]
"""Bits of a number, as a knob."""


def packed(codes: Tensor, bits: int) -> Tensor:
    """``codes [..., n]``, whole numbers below ``2^bits``, in ``[..., n * bits / 8]`` bytes; 8 divides n."""
    digits = codes.to(torch.int64).view(*codes.shape[:-1], -1, 8)
    shifts = torch.arange(8, device=codes.device) * bits
    words = (digits << shifts).sum(-1, keepdim=True)  # eight codes are `bits` bytes
    parts = (words >> torch.arange(0, 8 * bits, 8, device=codes.device)) & 255
    return parts.to(torch.uint8).flatten(-2, -1)


def unpacked(held: Tensor, bits: int) -> Tensor:
    """The codes ``[..., n]`` again, uint8."""
    parts = held.to(torch.int64).view(*held.shape[:-1], -1, bits)
    words = (parts << torch.arange(0, 8 * bits, 8, device=held.device)).sum(-1, keepdim=True)
    digits = (words >> torch.arange(8, device=held.device) * bits) & ((1 << bits) - 1)
    return digits.to(torch.uint8).flatten(-2, -1)


@dataclass(frozen=True, eq=False)
class Even:
    """Numbers in even steps along one of their dimensions: ``low + code step``, both of these in half precision.

    ``codes [..., n * bits / 8]`` are packed bytes, ``scale [2, ...]`` steps and lows.
    """

    codes: Tensor
    scale: Tensor
    bits: int

    @staticmethod
    def of(x: Tensor, along: int, bits: int) -> Even:
        """Code ``x [..., n]``, of which 8 divides n, with a step for each row along dimension ``along``."""
        low, high = x.amin(along, keepdim=True), x.amax(along, keepdim=True)
        top = (1 << bits) - 1
        scale = torch.stack([((high - low) / top).clamp(2**-14, 65504), low.clamp(-65504, 65504)]).half()
        step, base = scale.float()
        codes = ((x - base) / step).round_().clamp_(0, top)
        return Even(packed(codes, bits), scale, bits)

    def decode(self) -> Tensor:
        """What the codes mean, float32, in the shape that was coded."""
        step, low = self.scale.float()
        made: Tensor = unpacked(self.codes, self.bits).float() * step + low
        return made

    @property
    def nbytes(self) -> int:
        """Bytes of codes, steps and lows."""
        return self.codes.nbytes + self.scale.nbytes


@dataclass(frozen=True, eq=False)
class Stored:
    """Entries in parts, one behind the other: ``parts`` give keys and values ``[entries, heads, dim]`` in float32.

    ``tensors`` are all that is held for them.
    """

    parts: tuple[Callable[[], tuple[Tensor, Tensor]], ...]
    tensors: tuple[Tensor, ...]
    count: int
    dtype: torch.dtype

    positions = None

    @property
    def nbytes(self) -> int:
        """Bytes of all that is held."""
        return sum(tensor.nbytes for tensor in self.tensors)

    def dense(self) -> tuple[Tensor, Tensor]:
        """What is stored, decoded."""
        keys, values = zip(*(part() for part in self.parts), strict=True)
        return torch.cat(keys).to(self.dtype).contiguous(), torch.cat(values).to(self.dtype).contiguous()

    @staticmethod
    def joined(parts: Sequence[Stored]) -> Stored:
        """Some of them, one behind the other."""
        decoders = tuple(decode for part in parts for decode in part.parts)
        tensors = tuple(tensor for part in parts for tensor in part.tensors)
        return Stored(decoders, tensors, sum(part.count for part in parts), parts[0].dtype)
