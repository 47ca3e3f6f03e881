"""Eviction as it is: what goes is gone."""

from __future__ import annotations

from torch import Tensor

from laconic.kv.base import Merger, Parting
from laconic.policy import Card, knobs


@knobs
class Drop(Merger):
    """Forget what goes; what stays is as it was written.

    Eviction without merging, against which every merger must be measured at equal bytes.
    """

    card = Card(paper="laconic", lossless=False)

    def merged(self, parting: Parting) -> tuple[Tensor, Tensor]:
        """What stays."""
        return parting.keys(parting.stays), parting.values(parting.stays)
