"""GEAR: what quantisation gets wrong, in a matrix of low rank and a few outliers."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from laconic.kv.base import Codec
from laconic.kv.stored import Bits, Even, Stored
from laconic.models.past import PastLayer
from laconic.policy import Card, knobs

_TURNS = 2
"""Power iterations; the authors use as few."""


@knobs
class GEAR(Codec):
    """Quantise token by token without outliers, and store the error's best approximation of a low rank, head by head.

    Source: GEAR (Kang et al. 2024): outliers are the smallest and the largest numbers of each token, kept apart in
    half precision with their places; the rest is quantised; of what is left, ``rank`` dimensions are kept by power
    iteration.
    """

    card = Card(
        paper="GEAR: An Efficient KV Cache Compression Recipe for Near-Lossless Generative Inference of LLM",
        lossless=False,
        catalogue=(200,),
    )

    bits: Bits = 4
    """Bits of a number."""
    rank: Annotated[int, Field(ge=0)] = 2
    """Dimensions of the error that are kept."""
    outliers: Annotated[float, Field(ge=0, lt=0.5)] = 0.02
    """Share of a head's numbers that are kept apart, half of them the smallest, at least one of each; 0 for none."""

    def encode(self, keys: Tensor, values: Tensor) -> PastLayer:
        """Both of ``[entries, heads, dim]``, coded."""
        k, v = (_Part(x.float(), self.bits, self.rank, self.outliers) for x in (keys, values))
        return Stored((lambda: (k.decode(), v.decode()),), (*k.tensors, *v.tensors), len(keys), keys.dtype)


class _Part:
    """Keys, or values, of some tokens."""

    def __init__(self, x: Tensor, bits: int, rank: int, outliers: float) -> None:
        count = math.ceil(outliers * x.shape[-1] / 2)
        self._rows, self._shape = x.shape[1], x.shape
        kept = x
        self._places = self._apart = x.new_empty(0)
        if count:
            order = x.argsort(-1)
            places = torch.cat([order[..., :count], order[..., -count:]], -1)
            self._places, self._apart = places.to(torch.int16), x.gather(-1, places).half()
            inner = order[..., x.shape[-1] // 2, None]  # in their places a number from the middle, which widens no step
            kept = x.scatter(-1, places, x.gather(-1, inner).expand_as(places))
        self._even = Even.of(kept, 2, bits)
        error = (kept - self._even.decode()).transpose(0, 1)
        self._left, self._right = _low_rank(error, rank)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that is held."""
        return (self._even.codes, self._even.scale, self._places, self._apart, self._left, self._right)

    def decode(self) -> Tensor:
        """The numbers, as near as they are kept."""
        made = self._even.decode() + (self._left.float() @ self._right.float()).transpose(0, 1)
        return made.scatter(-1, self._places.long(), self._apart.float()) if len(self._places) else made


def _low_rank(x: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """``x [heads, entries, dim]`` as ``[heads, entries, rank] @ [heads, rank, dim]``, by power iteration."""
    if not rank:
        return x.new_zeros(*x.shape[:2], 1).half(), x.new_zeros(x.shape[0], 1, x.shape[2]).half()
    basis = torch.linalg.qr(x.mT @ x @ torch.eye(x.shape[2], rank, device=x.device)).Q
    for _ in range(_TURNS - 1):
        basis = torch.linalg.qr(x.mT @ (x @ basis)).Q
    return (x @ basis).half(), basis.mT.half()
