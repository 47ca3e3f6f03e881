"""SAM-Decoding: copy what followed the longest end of the text that stands in it before, however long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.speculation.base import EMPTY, Context, Drafter, Judge, TokenTree, Tools
from laconic.speculation.drafters.automaton import Automaton
from laconic.speculation.drafters.history import common_prefix, copied, judged

_TAIL = 32
"""Tokens compared each round to notice that a controller has taken text back."""


@dataclass(slots=True)
class Matching:
    """State of one request. ``history`` is the text that ``automaton`` knows."""

    context: Context
    automaton: Automaton = field(default_factory=Automaton)
    history: list[int] = field(default_factory=list)

    def read(self) -> None:
        """Bring the automaton up to the text; where some was taken back, which is rare, it is made anew."""
        tokens, seen = self.context.tokens, len(self.history)
        if tokens[max(0, seen - _TAIL) : seen] != self.history[-_TAIL:]:
            del self.history[common_prefix(tokens, self.history) :]
            self.automaton, seen = Automaton(), 0
        for token in tokens[seen:]:
            self.automaton.add(token)
        self.history += tokens[len(self.history) :]


@knobs
class Sam(Drafter):
    """Copy what followed the longest end of prompt and output that stands in them before.

    Source: SAM-Decoding (Hu et al. 2024), its automaton of the text at hand. A suffix automaton finds the longest match
    of any length, at a cost per token that hangs neither on the length of the text nor on that of the match; where
    it ended first, copying begins. Their second automaton, of a corpus, is what ``rest`` is here, and their auxiliary
    drafter where matches are short is ``fallback`` in ``suffix``.
    """

    card = Card(paper="SAM Decoding: Speculative Decoding via Suffix Automaton", lossless=True, arxiv="2411.10666")

    min_match: Annotated[int, Field(ge=1)] = 2
    """Shortest match that is copied from, tokens."""

    def start(self, context: Context, tools: Tools) -> Matching:
        """Read the prompt."""
        state = Matching(context)
        state.read()
        return state

    def propose(
        self, states: Sequence[Matching], budgets: Sequence[int], judges: Sequence[Judge | None]
    ) -> list[TokenTree]:
        """A chain for each request whose end stands somewhere before."""
        return [self._draft(*request) for request in zip(states, budgets, judges, strict=True)]

    def _draft(self, state: Matching, budget: int, judge: Judge | None) -> TokenTree:
        state.read()
        match, end = state.automaton.repeated
        if match < self.min_match or budget <= 0:
            return EMPTY
        drafted = judged(copied(state.history, end, budget), match, judge)
        return TokenTree.of_chain(drafted, self.name)
