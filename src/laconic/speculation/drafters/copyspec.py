"""CopySpec: where the last few tokens stood before, copy the block that followed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.speculation.base import EMPTY, Context, Drafter, Judge, TokenTree, Tools
from laconic.speculation.drafters.history import copied, judged
from laconic.speculation.drafters.index import Index


@dataclass(slots=True)
class Copying:
    """State of one request."""

    context: Context
    index: Index


@knobs
class CopySpec(Drafter):
    """Copy a block of fixed size from behind the last place where the same ``match`` tokens stood.

    Source: CopySpec (Dumitru et al. 2025). The text is the whole context, with all turns of a conversation before this
    one. The authors keep the places by a rolling hash; a dictionary of the tokens themselves costs as little at these
    lengths and never takes one context for another. A match is long, so that a block of tokens is worth its pass; there
    is no shorter match to fall back to, which sets it apart from ``prompt-lookup``.
    """

    card = Card(
        paper="CopySpec: Accelerating LLMs with Speculative Copy-and-Paste Without Compromising Quality",
        lossless=True,
        catalogue=(186,),
    )

    match: Annotated[int, Field(ge=1, le=64)] = 5
    """Tokens that must be the same (gamma)."""
    block: Annotated[int, Field(ge=1)] = 10
    """Tokens copied at most."""

    def start(self, context: Context, tools: Tools) -> Copying:
        """Index the prompt."""
        state = Copying(context, Index((self.match,)))
        state.index.read(context.tokens)
        return state

    def propose(
        self, states: Sequence[Copying], budgets: Sequence[int], judges: Sequence[Judge | None]
    ) -> list[TokenTree]:
        """A block for each request whose last tokens stood somewhere before."""
        return [self._draft(*request) for request in zip(states, budgets, judges, strict=True)]

    def _draft(self, state: Copying, budget: int, judge: Judge | None) -> TokenTree:
        index = state.index
        index.read(state.context.tokens)
        place = index.place(index.history[-self.match :])
        if place is None:
            return EMPTY
        drafted = judged(copied(index.history, place, min(budget, self.block)), self.match, judge)
        return TokenTree.of_chain(drafted, self.name)
