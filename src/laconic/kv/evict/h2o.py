"""H2O: entries to which much was attended in all."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from laconic.kv.base import Layer
from laconic.kv.observed import Summing
from laconic.policy import Card, knobs


@knobs
class H2O(Summing):
    """Keep the entries with the largest sum of attention weights, over all queries since they were written.

    Source: H2O: Heavy-Hitter Oracle (Zhang et al. 2023), which gives half of the budget to the last tokens;
    ``recent`` says how many here. ``mean`` divides the sum by the number of queries that could see an entry: without
    that the first tokens, which most queries can see, are ahead. As a view (``kv-view``) it knows the last ``seen``
    queries alone.
    """

    card = Card(
        paper="H2O: Heavy-Hitter Oracle for Efficient Generative Inference of LLMs", lossless=False, arxiv="2306.14048"
    )

    mean: bool = False
    """Divide by the number of queries that could see an entry."""
    seen: Annotated[int, Field(ge=1)] = 256
    """Tokens after which the weights of their queries are added up, if the cache was not reduced before."""

    def score(self, layer: Layer) -> Tensor:
        """The sum, or mean, of the weights so far."""
        total = self.attended(layer)
        if not self.mean:
            return total.clone()
        return total / (layer.length - layer.positions).to(torch.float32)
