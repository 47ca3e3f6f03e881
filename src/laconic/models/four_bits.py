"""Entries of four bits, laid out for the project's own kernels (``native/packed.h``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from laconic.models.native.bf16 import Packed

GROUP = 64
"""Entries in a row whose keys share the steps of their dimensions."""
_TOP, _MIDDLE = 15, 8


@dataclass(frozen=True, eq=False)
class FourBits:
    """Keys and values of four bits each: a code c means ``middle + (c - 8) step``.

    Steps are those of a dimension over 64 keys in a row, and of a value over its dimensions. ``keys [groups, heads,
    2, dim / 4, 16, 4]`` and ``values [groups, heads, 32, dim / 32, 16, 2]`` are bytes of two codes, ``key_scale [2,
    groups, heads, dim]`` and ``value_scale [2, groups, heads, 64]`` steps and middles in half precision.
    """

    keys: Tensor
    values: Tensor
    key_scale: Tensor
    value_scale: Tensor
    dtype: torch.dtype

    positions = None

    @staticmethod
    def of(keys: Tensor, values: Tensor) -> FourBits:
        """Code ``keys`` and ``values [entries, heads, dim]``: whole groups of entries, and dimensions of 32."""
        count, heads, dim = keys.shape
        groups = count // GROUP
        if count % GROUP or dim % 32:
            raise ValueError(f"{count} entries of {dim} dimensions are no whole groups of {GROUP} and 32")
        k = keys.float().view(groups, GROUP, heads, dim).transpose(1, 2)
        v = values.float().view(groups, GROUP, heads, dim).transpose(1, 2)
        key_codes, key_scale = coded(k, 2)
        value_codes, value_scale = coded(v, 3)
        # keys [groups, heads, half, digit, lane, dim / 4, 4], values [groups, heads, pair, one, dim / 32, digit, lane]
        k8 = key_codes.view(groups, heads, 2, 2, 16, dim // 4, 4).permute(3, 0, 1, 2, 5, 4, 6)
        v8 = value_codes.view(groups, heads, GROUP // 2, 2, dim // 32, 2, 16).permute(5, 0, 1, 2, 4, 6, 3)
        k4, v4 = ((low | high << 4).contiguous() for low, high in (k8, v8))
        return FourBits(k4, v4, key_scale.squeeze(3), value_scale.squeeze(4), keys.dtype)

    @staticmethod
    def joined(parts: Sequence[FourBits]) -> FourBits:
        """Some of them, one behind the other."""
        fields = ((part.keys, part.values, part.key_scale, part.value_scale) for part in parts)
        keys, values, key_scales, value_scales = zip(*fields, strict=True)
        scales = torch.cat(key_scales, 1), torch.cat(value_scales, 1)
        return FourBits(torch.cat(keys), torch.cat(values), *scales, parts[0].dtype)

    @property
    def count(self) -> int:
        """Entries of each key head."""
        return len(self.keys) * GROUP

    @property
    def nbytes(self) -> int:
        """Bytes of codes, steps and middles."""
        return sum(part.nbytes for part in (self.keys, self.values, self.key_scale, self.value_scale))

    def dense(self) -> tuple[Tensor, Tensor]:
        """What the codes mean, ``[entries, heads, dim]`` twice."""
        groups, heads = self.keys.shape[:2]
        dim = self.keys.shape[3] * 4
        k = torch.stack([self.keys & 15, self.keys >> 4], 3)  # [groups, heads, half, digit, dim / 4, lane, 4]
        k = k.permute(0, 1, 2, 3, 5, 4, 6).reshape(groups, heads, GROUP, dim)
        v = torch.stack([self.values & 15, self.values >> 4], 4)  # [groups, heads, pair, dim / 32, digit, lane, one]
        v = v.permute(0, 1, 2, 6, 3, 4, 5).reshape(groups, heads, GROUP, dim)
        both = (
            (codes.float() - _MIDDLE) * step + middle
            for codes, (step, middle) in (
                (k, self.key_scale.float()[:, :, :, None]), (v, self.value_scale.float()[..., None])
            )
        )  # fmt: skip
        # A single group would stay a view, and kernels read rows one behind the other.
        keys, values = (part.transpose(1, 2).reshape(-1, heads, dim).to(self.dtype).contiguous() for part in both)
        return keys, values

    @cached_property
    def kernel(self) -> Packed:
        """How the project's own kernels are told of it."""
        parts = (self.keys, self.values, *self.key_scale, *self.value_scale)
        return Packed(*(part.data_ptr() for part in parts), self.keys.shape[1])


def coded(x: Tensor, along: int) -> tuple[Tensor, Tensor]:
    """Codes of ``x`` in the fewest bits' worth of even steps along a dimension, and ``[2, ...]`` steps and middles.

    These are rounded to half precision first, so that codes are the nearest ones to what will be read.
    """
    low, high = x.amin(along, keepdim=True), x.amax(along, keepdim=True)
    step = ((high - low) / _TOP).clamp(2**-14, 65504).half()
    middle = (low + _MIDDLE * step.float()).clamp(-65504, 65504).half()
    codes = ((x - middle.float()) / step.float() + _MIDDLE).round_().clamp_(0, _TOP).to(torch.uint8)
    return codes, torch.stack([step, middle])
