"""Prompt lookup: copy what followed the last time these words came up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import pydantic
from pydantic import Field

from laconic.policy import Card, knobs
from laconic.speculation.base import EMPTY, Context, Drafter, Go, Judge, Node, TokenTree, Tools
from laconic.speculation.drafters.history import common_prefix

_TAIL = 32
"""Tokens compared each round to notice that a controller has taken text back."""


@dataclass(slots=True)
class Lookup:
    """State of one request. ``index`` maps an n-gram to the position after its last occurrence in ``history``."""

    context: Context
    history: list[int] = field(default_factory=list)
    index: dict[tuple[int, ...], int] = field(default_factory=dict)


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
        state = Lookup(context)
        self._update(state)
        return state

    def propose(
        self, states: Sequence[Lookup], budgets: Sequence[int], judges: Sequence[Judge | None]
    ) -> list[TokenTree]:
        """A chain for each request whose suffix has been seen before."""
        return [self._draft(*request) for request in zip(states, budgets, judges, strict=True)]

    def _update(self, state: Lookup) -> None:
        tokens, history, index = state.context.tokens, state.history, state.index
        seen = len(history)
        if tokens[max(0, seen - _TAIL) : seen] != history[-_TAIL:]:  # Text was taken back; rare, so start over.
            seen = common_prefix(tokens, history)
            del history[seen:]
            index.clear()
            seen = 0
        history.extend(tokens[len(history) :])
        for end in range(seen, len(history)):
            for n in range(self.min_ngram, min(self.max_ngram, end) + 1):
                index[tuple(history[end - n : end])] = end

    def _draft(self, state: Lookup, budget: int, judge: Judge | None) -> TokenTree:
        self._update(state)
        history = state.history
        for n in range(min(self.max_ngram, len(history)), self.min_ngram - 1, -1):
            source = state.index.get(tuple(history[-n:]))
            if source is not None:
                break
        else:
            return EMPTY
        period = len(history) - source
        drafted = history[source : source + budget]
        while len(drafted) < budget:
            drafted.append(drafted[len(drafted) - period])
        if judge is not None:
            confidence = (n + 1) / (n + 2)  # Laplace's rule of succession: n tokens agreed, none differed.
            for depth in range(budget):
                go = judge(Node(depth, None, confidence))
                if go is not Go.ON:
                    del drafted[depth + (go is Go.LAST) :]
                    break
        return TokenTree.of_chain(drafted, self.name)
