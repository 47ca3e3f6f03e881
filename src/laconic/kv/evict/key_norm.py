"""Key norm: short keys are attended to most."""

from __future__ import annotations

import torch
from torch import Tensor

from laconic.kv.base import Layer
from laconic.kv.keeping import Evicting
from laconic.policy import Card, knobs


@knobs
class KeyNorm(Evicting):
    """Keep the entries whose keys are shortest.

    Source: A Simple and Effective L2 Norm-Based Strategy for KV Cache Compression (Devoto et al. 2024). It looks at no
    query. Where a model norms its keys (Qwen3, Gemma 3), their lengths tell little.
    """

    card = Card(
        paper="A Simple and Effective L2 Norm-Based Strategy for KV Cache Compression",
        lossless=False,
        arxiv="2406.11430",
    )

    def score(self, layer: Layer) -> Tensor:
        """Minus the length of the key."""
        lengths: Tensor = torch.linalg.vector_norm(layer.keys.float(), dim=-1)
        return -lengths
