"""Everything stays."""

from __future__ import annotations

from laconic.kv.base import KV, Telling
from laconic.models.past import Keeper
from laconic.policy import Card, knobs


@knobs
class Full(KV):
    """Keep every entry, as it was written.

    The baseline of all others.
    """

    card = Card(paper="Attention Is All You Need", lossless=True, arxiv="1706.03762")

    def start(self, told: Telling) -> Keeper | None:
        """Nobody decides anything."""
        return None

    def within(self, entries: int) -> KV:
        """Nothing can be taken away here: a budget needs a method that says what goes."""
        return self
