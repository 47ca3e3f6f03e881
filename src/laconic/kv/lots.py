"""Lots that depend on the place in the text alone, so that drafts, batches and copies draw none of their own."""

from __future__ import annotations

from torch import Tensor

_MIX = 0x9E3779B1
"""An odd number near 2^32 over the golden ratio: multiples of it fall evenly."""


def lots(positions: Tensor, layer: int, seed: int) -> Tensor:
    """A number in [0, 1) for each of ``positions [entries, kv_heads]`` of a layer, always the same one, in float32."""
    heads = positions.shape[1]
    lot = positions.long() * heads + positions.new_tensor(range(heads)).long()
    mixed = (lot + seed * 7919 + layer * 104729 + 1) * _MIX & 0xFFFFFFFF
    mixed = (mixed ^ (mixed >> 15)) * 0x85EBCA6B & 0xFFFFFFFF
    mixed = (mixed ^ (mixed >> 13)) * 0xC2B2AE35 & 0xFFFFFFFF
    return (mixed ^ (mixed >> 16)).double().div(2.0**32).float()
