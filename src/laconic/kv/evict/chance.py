"""Random eviction: what any other method must beat."""

from __future__ import annotations

from torch import Tensor

from laconic.kv.base import Layer
from laconic.kv.keeping import Evicting
from laconic.kv.lots import lots
from laconic.policy import Card, knobs


@knobs
class Chance(Evicting):
    """Keep entries by lot, each head its own, drawn once for each place in the text.

    The control: a method that is no better has found nothing.
    """

    card = Card(paper="laconic", lossless=False)

    seed: int = 0
    """Another lot."""

    def score(self, layer: Layer) -> Tensor:
        """A number in [0, 1) for each position and head, always the same one."""
        return lots(layer.positions, layer.index, self.seed)
