"""No speculation."""

from __future__ import annotations

from collections.abc import Sequence

from laconic.policy import Card, knobs
from laconic.speculation.base import EMPTY, Context, Drafter, Judge, TokenTree, Tools


@knobs
class NoDrafter(Drafter):
    """Proposes nothing: plain decoding, one token a pass. The baseline of every comparison."""

    card = Card(paper="Plain autoregressive decoding", lossless=True)

    def start(self, context: Context, tools: Tools) -> None:
        """Nothing to remember."""

    def propose(
        self, states: Sequence[None], budgets: Sequence[int], judges: Sequence[Judge | None]
    ) -> list[TokenTree]:
        """An empty tree for each request."""
        return [EMPTY] * len(states)
