"""DynamicKV: layers share the budget as the best entries of all of them lie."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from laconic.kv.base import Allocator, fitted
from laconic.policy import Card, knobs


@knobs
class Dynamic(Allocator):
    """Each layer keeps what part of the best entries of all layers are its own.

    Source: DynamicKV (Zhou et al. 2024). A layer's scores count as shares of their sum, head by head, so that no layer
    wins by the size of its numbers. The paper settles this every few layers while the prompt is read; here all layers
    are known when the cache is reduced, and it is done again at each reduction.
    """

    card = Card(
        paper="DynamicKV: Task-Aware Adaptive KV Cache Compression for Long Context LLMs",
        lossless=False,
        catalogue=(106,),
    )

    def shares(self, total: int, scores: Sequence[Tensor], least: int) -> list[int]:
        """In proportion to how many of the global best each layer has."""
        if not scores:
            return []
        flat = [_normalised(score).flatten() for score in scores]
        joined = torch.cat(flat)
        count = min(total * scores[0].shape[1], len(joined))
        owner = torch.repeat_interleave(torch.arange(len(flat)), torch.tensor([len(each) for each in flat]))
        best = joined.topk(count).indices.cpu()
        wanted = torch.bincount(owner[best], minlength=len(flat)) / scores[0].shape[1]
        return fitted(wanted.tolist(), total, [len(score) for score in scores], least)


def _normalised(score: Tensor) -> Tensor:
    """Scores as shares of their sum above the lowest, head by head; those that stay in any case are above all."""
    bottom = score.amin(0)
    value = score - torch.where(bottom.isinf(), torch.zeros_like(bottom), bottom)
    known = value.masked_fill(value.isinf(), 0.0)
    return torch.where(value.isinf(), torch.full_like(value, torch.inf), known / known.sum(0).clamp_min(1e-30))
