"""Plain quantisation, token by token."""

from __future__ import annotations

from torch import Tensor

from laconic.kv.base import Codec
from laconic.kv.stored import Bits, Even, Stored
from laconic.models.past import PastLayer
from laconic.policy import Card, knobs


@knobs
class PerToken(Codec):
    """Keys and values have a step for each token and head, between the smallest and the largest of its numbers.

    The baseline of all others; at eight bits hardly anything is lost. Codes are unpacked in every pass, which spares
    memory and no time.
    """

    card = Card(
        paper="FlexGen: High-Throughput Generative Inference with a Single GPU", lossless=False, arxiv="2303.06865"
    )

    bits: Bits = 8
    """Bits of a number."""

    def encode(self, keys: Tensor, values: Tensor) -> PastLayer:
        """Both of ``[entries, heads, dim]``, coded."""
        k, v = Even.of(keys.float(), 2, self.bits), Even.of(values.float(), 2, self.bits)
        tensors = k.codes, k.scale, v.codes, v.scale
        return Stored((lambda: (k.decode(), v.decode()),), tensors, len(keys), keys.dtype)
