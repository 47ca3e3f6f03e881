"""Suffix decoding: go on as this request, or any before it, went on most often from here."""

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
from laconic.speculation.drafters.suffix_pages import Document
from laconic.speculation.drafters.suffix_store import ORDERS, Store
from laconic.speculation.drafters.suffix_walk import Walk, best_draft


@dataclass(slots=True)
class Progress:
    """State of one request. ``history`` are the tokens entered so far."""

    context: Context
    shape: TreeShape
    own: Store
    inner: Any
    text: Document = field(default_factory=Document)
    """This request's text in ``own``."""
    document: Document | None = None
    """What it wrote, in the shared store."""
    deferred: bool = False
    """Whether the last draft came from ``fallback``."""
    history: list[int] = field(default_factory=list)
    prompt_length: int = 0
    """As it was when tokens were last entered; a conversation moves it on with each turn."""


@knobs
class Suffix(Drafter):
    """Draft what followed when the last tokens came before, in this request or in the output of an earlier one.

    Source: SuffixDecoding. The paper's two suffix trees (prompt and output of this request; outputs of all requests)
    are two stores of places, found by hashes of the 1, 2, 4 and 8 tokens before them: at most 12 places in each,
    those of the longest matches, and among these the latest. Each match length n in each store is weighed: the places
    where at least n tokens match give a draft of at most ``factor * n + offset`` tokens, at each step the most
    frequent, whose probability is its share of the places that agree with the draft so far. A place near the end of
    the request's own text goes on with what it drafts. The draft with the highest score stands, the sum of its path
    probabilities, which is the number of tokens that are expected to be accepted; a path below ``min_prob`` is not
    drafted. What lengths and shapes are told of a token's chance is its share with a discount, the larger the shorter
    the match. When the score of what was drafted is below ``min_score``, ``fallback`` is asked instead: the hybrid of
    ArcticInference. It grows any tree shape, from the places of the best match length; its drafts are deterministic.

    What is shared belongs to this policy object and lives as long as it does: engines that are given the same object
    share it. See Store for locking and the bound on memory.
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
    """Most output tokens kept over all requests, about 40 bytes each; the oldest are forgotten first."""
    fallback: pydantic.InstanceOf[Drafter] | None = None
    """Drafter asked when the places promise too little."""
    min_score: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 2.0
    """Expected accepted tokens below which ``fallback`` is asked."""

    @property
    def expands(self) -> bool:
        """True: any node can be looked up."""
        return True

    @cached_property
    def _lengths(self) -> list[int]:
        """Longest draft by length of the match; nothing is drafted without one."""
        return [0, *(int(self.factor * length + self.offset) for length in range(1, self.max_depth + 1))]

    @cached_property
    def _everyone(self) -> Store:
        return Store(self.max_depth, self.max_tokens)

    @property
    def shared_bytes(self) -> int:
        """Bytes set aside for what requests share."""
        return self._everyone.nbytes if self.shared else 0

    def start(self, context: Context, tools: Tools) -> Progress:
        """Enter the prompt, for this request alone."""
        own = Store(self.max_depth)
        inner = self.fallback.start(context, tools) if self.fallback is not None else None
        state = Progress(context, tools.shape, own, inner)
        self._enter(state)
        return state

    def propose(
        self, states: Sequence[Progress], budgets: Sequence[int], judges: Sequence[Judge | None]
    ) -> list[TokenTree]:
        """Draft from what is stored, then from ``fallback`` wherever that promises too little."""
        trees, poor = [], []
        for i, (state, budget, judge) in enumerate(zip(states, budgets, judges, strict=True)):
            self._enter(state)
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
        """Enter what was committed, before more text may be given, and tell ``fallback`` of its own drafts."""
        for state in states:
            self._enter(state)
        if self.fallback is not None:
            everything = self.fallback.listens
            rounds = [(s.inner, v) for s, v in zip(states, verdicts, strict=True) if s.deferred or everything]
            self.fallback.observe([inner for inner, _ in rounds], [verdict for _, verdict in rounds])

    def finish(self, state: Progress) -> None:
        """Enter the last tokens for the requests to come."""
        self._enter(state)
        if self.fallback is not None:
            self.fallback.finish(state.inner)

    def _enter(self, state: Progress) -> None:
        """Enter what was committed since the last call. Text taken back stays: it was written once.

        Where ``context.prompt_length`` has moved, the text up to there was given: it is entered for this request
        alone, and what is written after it begins a stretch of its own in the shared store.
        """
        tokens, history, depth = state.context.tokens, state.history, self.max_depth
        seen, prompt = len(history), state.context.prompt_length
        if tokens[max(0, seen - depth) : seen] != history[-depth:]:
            del history[common_prefix(tokens, history) :]
            seen = len(history)
            state.text = Document(tokens[max(0, seen - depth) : seen])
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
                state.document = Document(tokens[max(0, written - ORDERS[-1]) : written])
            self._everyone.extend(state.document, tokens[written:])
        history += fresh

    def _draft(self, state: Progress, budget: int, judge: Judge | None) -> tuple[TokenTree, float]:
        """A tree, and how many of its tokens are expected to be accepted (0 where nobody asks)."""
        window = state.history[-self.max_depth :]
        sources = [(state.own, state.text), *([(self._everyone, state.document)] if self.shared else [])]
        draft = best_draft(sources, window, self._lengths, budget, self.min_prob)
        if not draft.runs:
            return EMPTY, 0.0
        nodes = Grown()
        walk = Walk(draft, nodes, self.min_prob)
        tree = grow(state.shape, nodes, draft.budget, state.context, judge, walk.of, self.name)
        score = 0.0
        if self.fallback is not None:
            score = sum(walk.path(node) for node in range(len(nodes.tokens)))
        return tree, score
