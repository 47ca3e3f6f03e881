"""KIVI: keys in steps of their dimensions, values in steps of their tokens."""

from __future__ import annotations

from torch import Tensor

from laconic.kv.base import Codec
from laconic.kv.stored import Bits, Even, Stored
from laconic.models.four_bits import GROUP, FourBits
from laconic.models.past import PastLayer
from laconic.policy import Card, knobs


@knobs
class KIVI(Codec):
    """Keys have a step for each dimension of 64 tokens in a row, values one for each token and head.

    Source: KIVI (Liu et al. 2024), which has groups of 32 of either. Some dimensions of keys are much larger than
    others, in all tokens alike: a step of their own keeps them from coarsening the rest. With four bits, and heads of
    a multiple of 32, the project's own kernels read the codes as they are; else they are unpacked in every pass,
    which is slower than a full cache and spares memory alone.
    """

    card = Card(
        paper="KIVI: A Tuning-Free Asymmetric 2bit Quantization for KV Cache", lossless=False, arxiv="2402.02750"
    )

    bits: Bits = 4
    """Bits of a number."""

    def encode(self, keys: Tensor, values: Tensor) -> PastLayer:
        """Both of ``[entries, heads, dim]``, coded."""
        count, heads, dim = keys.shape
        if self.bits == 4 and dim % 32 == 0:
            return FourBits.of(keys, values)
        grouped = keys.float().view(count // GROUP, GROUP, heads, dim)
        k, v = Even.of(grouped, 1, self.bits), Even.of(values.float(), 2, self.bits)
        return Stored(
            (lambda: (k.decode().flatten(0, 1), v.decode()),),
            (k.codes, k.scale, v.codes, v.scale),
            count,
            keys.dtype,
        )
