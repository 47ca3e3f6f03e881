"""Everything stays."""

from __future__ import annotations

from collections.abc import Sequence

from laconic.kv.base import KV, Telling
from laconic.models.past import Held, Keeper, Past
from laconic.policy import Card, knobs


@knobs
class Full(KV):
    """Keep every entry, as it was written: the baseline of all others.

    Source: Attention Is All You Need (Vaswani et al. 2017).
    """

    card = Card(paper="Attention Is All You Need", lossless=True, arxiv="1706.03762")

    def start(self, told: Telling) -> Keeper | None:
        """Nobody decides anything."""
        return None

    def takes(self, length: int) -> bool:
        """Never."""
        return False

    def view(self, told: Telling, held: Sequence[Held | None], length: int) -> Past | None:
        """All of it."""
        return None
