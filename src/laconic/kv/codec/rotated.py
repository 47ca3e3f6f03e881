"""Rotation before quantisation: outliers are spread over all dimensions."""

from __future__ import annotations

import torch
from torch import Tensor

from laconic.kv.base import Codec
from laconic.kv.stored import Bits, Even, Stored
from laconic.models.past import PastLayer
from laconic.policy import Card, knobs


@knobs
class Rotated(Codec):
    """Turn each head's keys and values by a Hadamard matrix, then quantise them token by token.

    Source: QuaRot (Ashkboos et al. 2024), the cache's part: keys are turned behind their rotary embedding, and turned
    back when they are read. RotateKV (Su et al. 2025) turns them before it, over heads and with the dimensions in
    another order, which needs the model's weights; that is not here. Heads whose size is no power of two are turned
    in blocks.
    """

    card = Card(paper="QuaRot: Outlier-Free 4-Bit Inference in Rotated LLMs", lossless=False, arxiv="2404.00456")

    bits: Bits = 4
    """Bits of a number."""

    def encode(self, keys: Tensor, values: Tensor) -> PastLayer:
        """Both of ``[entries, heads, dim]``, coded."""
        k, v = (Even.of(turned(x.float()), 2, self.bits) for x in (keys, values))
        tensors = k.codes, k.scale, v.codes, v.scale
        return Stored((lambda: (turned(k.decode()), turned(v.decode())),), tensors, len(keys), keys.dtype)


def turned(x: Tensor) -> Tensor:
    """``x [..., dim]`` times an orthogonal Hadamard matrix, which is its own inverse; in blocks of a power of two."""
    dim = x.shape[-1]
    block = dim & -dim
    x = x.view(*x.shape[:-1], dim // block, block)
    size = 1
    while size < block:
        pairs = x.view(*x.shape[:-1], block // (2 * size), 2, size)
        one, other = pairs[..., 0, :], pairs[..., 1, :]
        x = torch.stack([one + other, one - other], -2).view(x.shape)
        size *= 2
    made: Tensor = x.flatten(-2, -1) * block**-0.5
    return made
