"""StreamingLLM: the first tokens and the last ones."""

from __future__ import annotations

from torch import Tensor

from laconic.kv.base import Layer
from laconic.kv.keeping import Evicting
from laconic.policy import Card, knobs


@knobs
class StreamingLLM(Evicting):
    """Keep the first ``sinks`` tokens and as many of the last ones as the budget holds.

    Source: Efficient Streaming Language Models with Attention Sinks (Xiao et al. 2023). Entries keep the positions at
    which they were written; the paper counts positions inside the cache instead, which lets a model write beyond its
    context.
    """

    card = Card(paper="Efficient Streaming Language Models with Attention Sinks", lossless=False, arxiv="2309.17453")

    def score(self, layer: Layer) -> Tensor:
        """The later, the better."""
        return layer.positions.float()
