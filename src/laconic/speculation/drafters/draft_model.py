"""A smaller model writes the draft."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, cast

import pydantic

from laconic.errors import UnmetNeed
from laconic.models.base import chain
from laconic.policy import Card, Family, Needs, knobs, registry
from laconic.speculation.base import EMPTY, Context, Drafter, Judge, TokenTree, Tools, TreeShape, Verdict
from laconic.speculation.drafters.history import common_prefix
from laconic.speculation.drafters.some import Some
from laconic.speculation.drafters.writing import UNREAD_WITH_DRAFT, Growth, Writer, widened

_CHAIN = "chain"
_AHEAD = 16
"""Tokens that the inner drafter is asked for at most."""


@knobs
class DraftModel(Drafter):
    """A second, smaller model with the target's vocabulary drafts; the target checks.

    Source: Leviathan et al. (2023), Chen et al. (2023). All requests draft in lock step: one pass of the draft
    model serves every request that still grows. Each request owns a slot in the draft model's cache; accepted
    tokens stay there, so a round begins by scoring only what the draft model has not seen (the target's own token,
    after full acceptance also the last drafted one). Long gaps, such as the prompt, go through ``prefill``. When
    drafting would leave the draft model's own context, it stops; behind a token that it has no embedding for it begins
    only after the next. Sampled requests are drafted at the request's own temperature and filters.

    A model with another tokenizer drafts the tokens that both vocabularies have (Timor et al. 2025, token-level
    intersection), and of those that only it has the first part. With ``keep`` the output head is computed for some
    tokens only, the most frequent ones of a corpus (FR-Spec, arXiv 2502.14856) or of the target's own texts (VocabTrim,
    arXiv 2506.22694); the others are never drafted.

    With ``inner`` the draft model is drafted for in turn (staged speculation, Spector and Re 2023): its first pass of a
    round also scores what the inner drafter proposes, and as far as it would have written the same, no further passes
    are made. Drafts are the same; for chains alone.
    """

    card = Card(
        paper="Fast Inference from Transformers via Speculative Decoding",
        catalogue=(117, 124, 127, 194),
        lossless=True,
        arxiv="2211.17192",
    )
    needs = Needs(draft_model=True)
    files = frozenset({"keep"})
    parts: ClassVar[Mapping[str, Family]] = {"inner": "drafter"}

    keep: str = ""
    """File of the tokens that may be drafted (``laconic fit vocab`` writes one); all of them without."""
    inner: pydantic.InstanceOf[Drafter] | None = None
    """Who drafts for the draft model, in brackets: ``[suffix]``; nobody without."""

    @cached_property
    def _some(self) -> Some:
        return Some(self.keep, self.name)

    def suits(self, target: Any, draft_model: Any) -> None:
        """Raise HeadError for a choice of tokens of another vocabulary, UnmetNeed for a model whose head is whole, and
        for an inner drafter that is no quicker than the draft model.
        """
        self._some.suits(target, draft_model)
        if self.inner is not None and any(policy.needs.draft_model for policy in self.inner.walk()):
            raise UnmetNeed(
                "the draft model cannot be drafted for by itself.",
                "Name one without a model: draft-model:inner=[suffix].",
            )

    @property
    def knows_distribution(self) -> bool:
        """True: every token comes with its row."""
        return True

    @property
    def expands(self) -> bool:
        """True: any node can be scored."""
        return True

    @property
    def knows_hidden(self) -> bool:
        """True, where the draft model shows its hidden states."""
        return True

    def start(self, context: Context, tools: Tools) -> Writer:
        """Open a slot in the draft model. Raises UnmetNeed if there is no draft model."""
        if tools.draft_model is None:
            raise UnmetNeed("'draft-model' needs a draft model.", "Load the engine with one.")
        inner = None
        if self.inner is not None:
            inner = self.inner.start(context, replace(tools, shape=cast(TreeShape, registry.build("shape", _CHAIN))))
        return Writer(context, tools.draft_model, tools.shape, tools.vocab_size, tools.draft_model.open(), inner=inner)

    def propose(
        self, states: Sequence[Writer], budgets: Sequence[int], judges: Sequence[Judge | None]
    ) -> list[TokenTree]:
        """Grow all trees, one pass per round for all of them."""
        rooms: list[int] = []
        for state, budget in zip(states, budgets, strict=True):
            room = state.model.context - len(state.context.tokens) + 1  # The last drafted token is never scored.
            rooms.append(min(budget, room) if state.known(state.context.tokens[-1]) else 0)
        growths = [
            Growth(state, room, judge, ahead) if room > 0 else None
            for state, room, judge, ahead in zip(states, rooms, judges, self._ahead(states, rooms), strict=True)
        ]
        live = [g for g in growths if g is not None and g.tree is None]
        while live:
            with self._some.only(live[0].writer.model):
                scores = live[0].writer.model.score([g.query for g in live], [g.writer.slot for g in live])
            scores = widened(scores, live[0].writer.vocab_size)
            for i, growth in enumerate(live):
                growth.advance(scores, i)
            live = [g for g in live if g.tree is None]
        return [
            EMPTY if g is None or g.tree is None else replace(g.tree, source=self.name, rows=g.tree.rows or g.rows)
            for g in growths
        ]

    def _ahead(self, states: Sequence[Writer], rooms: Sequence[int]) -> list[list[int]]:
        """What the inner drafter thinks that the draft model will write, as far as that can read it."""
        if self.inner is None:
            return [[]] * len(states)
        most = [max(min(room - 1, _AHEAD), 0) if state.shape.name == _CHAIN else 0
                for state, room in zip(states, rooms, strict=True)]  # fmt: skip
        trees = self.inner.propose([state.inner for state in states], most, [None] * len(states))
        return [list(itertools.takewhile(state.known, tree.tokens)) for state, tree in zip(states, trees, strict=True)]

    def observe(self, states: Sequence[Writer], verdicts: Sequence[Verdict]) -> None:
        """Tell the inner drafter what was written; what it proposed was not what the target checked."""
        if self.inner is not None:
            own = verdicts if self.inner.listens else [Verdict(EMPTY, (), v.next_token) for v in verdicts]
            self.inner.observe([state.inner for state in states], own)

    def complete(
        self, state: Writer, base: int, tokens: Sequence[int], most: int, ends: Callable[[int], bool]
    ) -> list[int]:
        """The draft model's greedy continuation, written in a copy of the request's slot."""
        model, context = state.model, state.context.tokens
        if base + len(tokens) + most > model.context:
            return []
        slot = state.slot.fork()
        try:
            text = [*context[:base], *tokens]
            kept = min(common_prefix(state.cached, text), len(text) - 1)  # a chain just drafted may be part of it
            slot.rollback(len(state.cached) - kept)
            text = state.readable(text[kept:])
            if len(text) > UNREAD_WITH_DRAFT:
                model.prefill(slot, text[:-1])
                text = text[-1:]
            written: list[int] = []
            while True:
                with self._some.only(model):
                    token = model.score([chain(text)], [slot]).best(0)[-1]
                if token >= state.vocab_size:
                    return written
                written.append(token)
                if len(written) >= most or ends(token):
                    return written
                slot.commit(range(len(text)))
                text = [token]
        finally:
            slot.close()

    def finish(self, state: Writer) -> None:
        """Give the slot back."""
        state.slot.close()
        if self.inner is not None:
            self.inner.finish(state.inner)
