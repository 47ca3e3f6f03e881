"""Suffix decoding: continue as this request, or any before it, most often continued from here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any

import pydantic
from pydantic import Field

from laconic.policy import Card, knobs
from laconic.speculation.base import EMPTY, Context, Drafter, Grown, Judge, TokenTree, Tools, TreeShape, Verdict
from laconic.speculation.drafters.growing import grow
from laconic.speculation.drafters.history import common_prefix
from laconic.speculation.drafters.suffix_store import ORDERS, Document, SharedStore, Store
from laconic.speculation.drafters.suffix_walk import Walk, longest


@dataclass(slots=True)
class Progress:
    """State of one request. ``history`` are the tokens counted so far; ``text`` is that text in ``own``."""

    context: Context
    shape: TreeShape
    stores: tuple[Store, ...]
    own: Store
    inner: Any
    text: int
    document: Document | None = None
    deferred: bool = False
    """Whether the last draft came from ``fallback``."""
    history: list[int] = field(default_factory=list)
    guesses: tuple[int, ...] = ()
    """The levels at which matches were found last, and so the next ones probably are."""
    prompt_length: int = 0
    """As it was when tokens were last counted; a conversation moves it on with each turn."""


@knobs
class Suffix(Drafter):
    """Draft the most frequent continuation of the longest context seen before, in this request or an earlier one.

    Source: SuffixDecoding. The paper's two suffix trees (prompt and output of this request; outputs of all
    requests) are hash tables of contexts of 1, 2, 3, 4, 6, 8, 12, 16 ... tokens, which cost the same per token
    however long the text grows. From the longest known context the child with the highest count is taken, context
    and child move on together, and the path probability is the product of count(child) / count(context). The authors
    draft from every match length and keep the draft with the best score; here only the longest match is drafted from,
    which costs one walk a round, and a shorter context with more evidence is not considered. A match
    of n tokens earns a draft of ``factor * n + offset`` tokens; a path below ``min_prob`` is not drafted. When the
    expected number of accepted tokens (the sum of path probabilities) is below ``min_score``, ``fallback`` is
    asked instead: the hybrid of ArcticInference. It grows any tree shape; its drafts are deterministic.

    The shared counts belong to this policy object and live as long as it does: engines that are given the same
    object share them. See SharedStore for locking and the bound on memory.
    """

    card = Card(
        paper="SuffixDecoding: Extreme Speculative Decoding for Emerging AI Applications",
        lossless=True,
        catalogue=(31,),
    )

    shared: bool = True
    """Whether outputs of other requests are drawn on, and this request's are added to them."""
    max_depth: Annotated[int, Field(ge=1, le=64)] = 16
    """Longest context that is matched, tokens."""
    factor: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """Draft tokens earned per matched token."""
    offset: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    """Draft tokens added to that."""
    min_prob: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Smallest path probability that is drafted."""
    max_tokens: Annotated[int, Field(ge=1)] = 100_000
    """Most output tokens kept over all requests, about 300 bytes each; the oldest are forgotten first."""
    fallback: pydantic.InstanceOf[Drafter] | None = None
    """Drafter asked when the counts promise too little."""
    min_score: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 2.0
    """Expected accepted tokens below which ``fallback`` is asked."""

    @property
    def expands(self) -> bool:
        """True: any node can be looked up."""
        return True

    @cached_property
    def _orders(self) -> tuple[int, ...]:
        return tuple(n for n in ORDERS if n <= self.max_depth)

    @cached_property
    def _everyone(self) -> SharedStore:
        return SharedStore(self._orders, self.max_tokens)

    def start(self, context: Context, tools: Tools) -> Progress:
        """Count the prompt, for this request alone."""
        own = Store(self._orders)
        stores = (own, self._everyone.store) if self.shared else (own,)
        inner = self.fallback.start(context, tools) if self.fallback is not None else None
        state = Progress(context, tools.shape, stores, own, inner, own.begin(), guesses=(0,) * len(stores))
        self._count(state)
        return state

    def propose(
        self, states: Sequence[Progress], budgets: Sequence[int], judges: Sequence[Judge | None]
    ) -> list[TokenTree]:
        """Draft from counts, then from ``fallback`` wherever they promise too little."""
        trees, poor = [], []
        for i, (state, budget, judge) in enumerate(zip(states, budgets, judges, strict=True)):
            self._count(state)
            tree, score = self._draft(state, budget, judge)
            trees.append(tree)
            state.deferred = False
            if score < self.min_score:
                poor.append(i)
        if self.fallback is not None and poor:
            others = self.fallback.propose(
                [states[i].inner for i in poor], [budgets[i] for i in poor], [judges[i] for i in poor]
            )
            for i, other in zip(poor, others, strict=True):
                if len(other):
                    trees[i], states[i].deferred = other, True
        return trees

    def observe(self, states: Sequence[Progress], verdicts: Sequence[Verdict]) -> None:
        """Count what was committed, before more text may be given, and tell ``fallback`` of its own drafts."""
        for state in states:
            self._count(state)
        if self.fallback is not None:
            everything = self.fallback.listens
            rounds = [(s.inner, v) for s, v in zip(states, verdicts, strict=True) if s.deferred or everything]
            self.fallback.observe([inner for inner, _ in rounds], [verdict for _, verdict in rounds])

    def finish(self, state: Progress) -> None:
        """Count the last tokens for the requests to come."""
        self._count(state)
        if self.fallback is not None:
            self.fallback.finish(state.inner)

    def _count(self, state: Progress) -> None:
        """Count what was committed since the last call. Text taken back stays counted: it was written once.

        Where ``context.prompt_length`` has moved, the text up to there was given: it is counted for this request
        alone, and what is written after it begins a stretch of its own in the shared store.
        """
        tokens, history, depth = state.context.tokens, state.history, self._orders[-1]
        seen, prompt = len(history), state.context.prompt_length
        if tokens[max(0, seen - depth) : seen] != history[-depth:]:
            del history[common_prefix(tokens, history) :]
            seen = len(history)
            state.text = state.own.begin(tokens[max(0, seen - depth) : seen])
            state.document = None
        if prompt != state.prompt_length:
            state.prompt_length = prompt
            state.document = None
        if seen == len(tokens):
            return
        fresh = tokens[seen:]
        state.own.extend(state.text, fresh)
        written = max(seen, prompt)
        if self.shared and written < len(tokens):
            if state.document is None:
                state.document = Document(tokens[max(0, written - depth) : written])
            self._everyone.extend(state.document, tokens[written:])
        history += fresh

    def _draft(self, state: Progress, budget: int, judge: Judge | None) -> tuple[TokenTree, float]:
        """A tree, and how many of its tokens the counts expect to be accepted (0 where nobody asks)."""
        window = tuple(state.history[-self._orders[-1] :])
        found = tuple([store.find(window, guess) for store, guess in zip(state.stores, state.guesses, strict=True)])
        state.guesses = tuple([store.level_of(one) for store, one in zip(state.stores, found, strict=True)])
        root, length = longest(state.stores, found)
        budget = min(budget, int(self.factor * length + self.offset))
        if root is None or budget <= 0:
            return EMPTY, 0.0
        nodes = Grown()
        walk = Walk(state.stores, window, found, nodes, self.min_prob, self._orders[-1])
        rows = lambda wanted: [walk.row(node) for node in wanted]  # noqa: E731
        tree = grow(state.shape, nodes, budget, state.context, judge, rows, self.name)
        score = 0.0
        if self.fallback is not None:
            score = sum(walk.path(node) for node in range(len(nodes.tokens)))
        return tree, score
