"""TOVA: what the last token attends to."""

from __future__ import annotations

from torch import Tensor

from laconic.kv.base import Layer
from laconic.kv.keeping import Evicting
from laconic.policy import Card, knobs


@knobs
class TOVA(Evicting):
    """Keep what the last query attends to most, on average over all heads of a layer.

    Source: Transformers are Multi-State RNNs (Oren et al. 2024). All heads of a layer keep the same tokens as long as
    they have the same entries.
    """

    card = Card(paper="Transformers are Multi-State RNNs", lossless=False, arxiv="2401.06104")

    @property
    def reads(self) -> int:
        """The last query."""
        return 1

    def score(self, layer: Layer) -> Tensor:
        """The mean of the last query's weights, over the heads of the layer."""
        mean = layer.weights[:, :, -1].mean((0, 1))
        return mean[:, None].expand(-1, layer.keys.shape[1]).clone()
