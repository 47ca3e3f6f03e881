"""Random eviction: what any other method must beat."""

from __future__ import annotations

from torch import Tensor

from laconic.kv.base import Layer
from laconic.kv.keeping import Evicting
from laconic.policy import Card, knobs

_MIX = 0x9E3779B1
"""An odd number near 2^32 over the golden ratio: multiples of it fall evenly."""


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
        heads = layer.positions.shape[1]
        lot = layer.positions.long() * heads + layer.positions.new_tensor(range(heads)).long()
        mixed = (lot + self.seed * 7919 + layer.index * 104729 + 1) * _MIX & 0xFFFFFFFF
        mixed = (mixed ^ (mixed >> 15)) * 0x85EBCA6B & 0xFFFFFFFF
        mixed = (mixed ^ (mixed >> 13)) * 0xC2B2AE35 & 0xFFFFFFFF
        return (mixed ^ (mixed >> 16)).double().div(2.0**32).float()
