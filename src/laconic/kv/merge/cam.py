"""CaM: values of what goes are spread over the entries that come after it."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from laconic.kv.base import Merger, Parting
from laconic.kv.lots import lots
from laconic.policy import Card, knobs

_BLOCK = 1024
"""Entries that are spread at a time; bounds the memory of that."""


@knobs
class CaM(Merger):
    """Add an entry's value, in equal parts, to those of the next kept entries, by lot: what was attended to, sooner.

    Source: CaM (Zhang et al. 2024). The probability is the attention that the entry got over the mean of what those
    ``spread`` entries got, 1 at most: so its part in the output stays what it was, on average. Attention is the mean
    weight of the last ``window`` queries, where the authors sum over all that there were. Keys stay as they are, so
    rotation is no matter. The authors' three versions of the code divide by that mean, by one that takes in the first
    tokens, and by the largest; this is the first of them. Values are added to, not averaged: they grow. The lot is
    drawn once for each place in the text.
    """

    card = Card(paper="CaM: Cache Merging for Memory-efficient LLMs Inference (ICML 2024)", lossless=False)

    spread: Annotated[int, Field(ge=1)] = 32
    """Kept entries among which a value is parted; fewer where fewer follow."""
    window: Annotated[int, Field(ge=1)] = 32
    """Last tokens whose queries count; no more than were written since the last reduction."""
    seed: int = 0
    """Another lot."""

    @property
    def looks(self) -> int:
        """The window's queries."""
        return self.window

    def merged(self, parting: Parting) -> tuple[Tensor, Tensor]:
        """Keys as they were, and values with what was added to them."""
        layer, stays = parting.layer, parting.stays
        values = parting.values(stays).float().transpose(0, 1)
        attended = layer.weights[:, :, -self.window :].mean((1, 2)).T
        drawn = lots(layer.positions, layer.index, self.seed)
        mine = attended.gather(0, stays).T
        sums = torch.cat([mine.new_zeros(len(mine), 1), mine.double().cumsum(1)], 1)
        after = torch.searchsorted(stays.T.contiguous(), parting.goes.T.contiguous())  # [kv_heads, gone]
        until = (after + self.spread).clamp_max(len(stays))
        count = until - after
        mean = (sums.gather(1, until) - sums.gather(1, after)) / count.clamp_min(1)
        chosen = drawn.gather(0, parting.goes).T * mean < attended.gather(0, parting.goes).T
        share = torch.where(chosen & (count > 0), 1 / count.clamp_min(1), 0.0).float()
        gone = parting.values(parting.goes).float().transpose(0, 1)
        places = torch.arange(len(stays), device=stays.device)
        for at in range(0, gone.shape[1], _BLOCK):
            part = slice(at, at + _BLOCK)
            there = (places[:, None] >= after[:, None, part]) & (places[:, None] < until[:, None, part])
            values = values + torch.where(there, share[:, None, part], 0.0) @ gone[:, part]
        return parting.keys(stays), values.transpose(0, 1).to(layer.values.dtype)
