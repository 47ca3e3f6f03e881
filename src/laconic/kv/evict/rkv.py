"""R-KV: what is attended to, and does not repeat what others hold."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from laconic.kv.base import Layer
from laconic.kv.observed import Observing
from laconic.policy import Card, knobs

_BLOCK = 1024
"""Entries that are held against all others at a time; bounds the memory of that."""


@knobs
class RKV(Observing):
    """Weigh what the last queries attend to against how much an entry's key is like those of others.

    Source: R-KV (Cai et al. 2025), made for reasoning traces, which say the same again and again. Importance is the
    weight that the last ``window`` queries give an entry, the largest of ``kernel`` neighbours; redundancy the mean
    cosine of its key with all others of the head, of which those above ``alike`` do not count for the ``newest`` of
    them, so that the latest of several alike stays. Both become shares of 1 over the entries (softmax of the latter);
    the score is ``importance * weight - redundancy * (1 - weight)``.
    """

    card = Card(
        paper="R-KV: Redundancy-aware KV Cache Compression for Reasoning Models", lossless=False, arxiv="2505.24133"
    )

    window: Annotated[int, Field(ge=1)] = 8
    """Last tokens whose queries count."""
    kernel: Annotated[int, Field(ge=1)] = 7
    """Neighbours among which the largest weight counts; odd."""
    weight: Annotated[float, Field(ge=0, le=1)] = 0.1
    """What importance counts, and redundancy the rest."""
    alike: Annotated[float, Field(gt=-1, le=1)] = 0.5
    """Cosine above which two keys are taken to say the same."""
    newest: Annotated[int, Field(ge=0)] = 1
    """Of several entries that are alike, how many of the newest are not redundant."""

    def score(self, layer: Layer) -> Tensor:
        """Importance against redundancy; the window's own entries above all."""
        own = len(layer.queries)
        weights = layer.weights.mean((1, 2))
        pooled = F.max_pool1d(weights[:, None], self.kernel, stride=1, padding=self.kernel // 2)[:, 0, : len(layer)]
        shares = pooled / pooled.sum(-1, keepdim=True)
        made = self.weight * shares - (1 - self.weight) * redundancy(layer.keys, self.alike, self.newest)
        made[:, len(layer) - own :] = made.max() + 1
        return made.T


def redundancy(keys: Tensor, alike: float, newest: int) -> Tensor:
    """How much each of ``keys [entries, heads, dim]`` is like others of its head, ``[heads, entries]``, 1 in all."""
    unit = F.normalize(keys.float(), dim=-1).transpose(0, 1)
    count = unit.shape[1]
    total = unit.new_zeros(unit.shape[:2])
    for start in range(0, count, _BLOCK):
        rows = unit[:, start : start + _BLOCK]
        cosines = rows @ unit.mT
        places = torch.arange(start, start + rows.shape[1], device=keys.device)
        own = torch.arange(rows.shape[1], device=keys.device), places
        near = cosines > alike
        near[:, own[0], own[1]] = True
        # of those that are alike, an entry itself among them, the newest stay: they are the last in its row
        late = near & (near.flip(-1).cumsum(-1).flip(-1) <= newest)
        cosines[:, own[0], own[1]] = 0.0
        total += cosines.masked_fill_(late, 0.0).sum(1)
    return torch.softmax(total / count, -1)
