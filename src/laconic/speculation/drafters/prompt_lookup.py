"""Prompt lookup: copy what followed the last time these words came up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import pydantic
from pydantic import Field

from laconic.policy import Card, knobs
from laconic.speculation.base import EMPTY, Context, Drafter, Judge, TokenTree, Tools
from laconic.speculation.drafters.history import copied, judged
from laconic.speculation.drafters.index import Index


@dataclass(slots=True)
class Lookup:
    """State of one request."""

    context: Context
    index: Index


@knobs
class PromptLookup(Drafter):
    """Copy what followed the last occurrence of the longest suffix n-gram in prompt and output.

    Source: Prompt Lookup Decoding (Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding), ``prompt_lookup_
    num_tokens`` in Transformers, "ngram" in vLLM. Those scan the text again each round; here an index grows with
    it, at a cost per token that does not depend on the length. An n-gram enters the index once a token follows it,
    so the suffix never finds itself. Where the source runs into the end of the text, copying goes on through the
    tokens just drafted (a period of p tokens repeats for as long as the budget lasts).
    """

    card = Card(paper="Prompt Lookup Decoding (Saxena 2023)", lossless=True)

    max_ngram: Annotated[int, Field(ge=1)] = 3
    """Longest suffix looked up, tokens."""
    min_ngram: Annotated[int, Field(ge=1)] = 1
    """Shortest suffix that may be copied from, tokens."""

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> PromptLookup:
        if self.min_ngram > self.max_ngram:
            raise ValueError(f"min_ngram ({self.min_ngram}) must not exceed max_ngram ({self.max_ngram})")
        return self

    def start(self, context: Context, tools: Tools) -> Lookup:
        """Index the prompt."""
        state = Lookup(context, Index(range(self.min_ngram, self.max_ngram + 1)))
        state.index.read(context.tokens)
        return state

    def propose(
        self, states: Sequence[Lookup], budgets: Sequence[int], judges: Sequence[Judge | None]
    ) -> list[TokenTree]:
        """A chain for each request whose suffix has been seen before."""
        return [self._draft(*request) for request in zip(states, budgets, judges, strict=True)]

    def _draft(self, state: Lookup, budget: int, judge: Judge | None) -> TokenTree:
        index = state.index
        index.read(state.context.tokens)
        for n in range(min(self.max_ngram, len(index.history)), self.min_ngram - 1, -1):
            source = index.place(index.history[-n:])
            if source is not None:
                break
        else:
            return EMPTY
        drafted = judged(copied(index.history, source, budget), n, judge)
        return TokenTree.of_chain(drafted, self.name)
