"""The target drafts for itself, reading its own past through less than all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, cast

import torch
from pydantic import Field, InstanceOf

from laconic.errors import UnmetNeed
from laconic.kv.base import KV, Telling
from laconic.models.base import LanguageModel, Nowhere, RunsParts, Slot, Views
from laconic.models.partial import WHOLE
from laconic.policy import Card, Family, Needs, knobs
from laconic.speculation.base import EMPTY, Context, Drafter, Judge, TokenTree, Tools
from laconic.speculation.drafters.writing import Growth, Writer

_UNREAD = 8
"""Tokens that the target has not read yet with which a draft may begin; the pass to come reads more than these."""


@dataclass(slots=True)
class Viewer:
    """State of one request: its view, if there is one, and the length of the text when it was made."""

    context: Context
    target: Any
    writer: Writer
    view: Slot | None = None
    made: int = 0

    @property
    def slot(self) -> Slot:
        """The request's place in the target's cache."""
        assert self.context.slot is not None
        return self.context.slot()

    def close(self) -> None:
        """Give the view back."""
        if self.view is not None:
            self.view.close()
            self.view = None


@knobs
class KVView(Drafter):
    """Draft with the target itself over a smaller view of its own cache; verification reads all of it.

    A pass over a long text is mostly the reading of its cache. The view is what a kv policy would keep of the text:
    a window gives MagicDec's StreamingLLM drafts (Chen et al. 2024), attention of the last queries its SnapKV drafts,
    and the same with ``refresh`` TriForce's first level. It is made anew every ``refresh`` tokens, for which the policy
    may look at the last queries in one short pass; in between it holds all that is written since. Nothing is drafted
    while the policy would keep the whole text, nor over a cache that a kv policy has reduced already.
    """

    card = Card(
        paper="MagicDec: Breaking the Latency-Throughput Tradeoff for Long Context Generation",
        lossless=True,
        catalogue=(95,),
    )
    needs = Needs(target_parts=True, reducible_cache=True)
    parts: ClassVar[Mapping[str, Family]] = {"view": "kv"}

    view: InstanceOf[KV]
    """The policy that says what the view holds, in brackets: ``[snapkv:budget=1024]``."""
    refresh: Annotated[int, Field(ge=1)] = 256
    """Tokens after which the view is made anew."""

    @property
    def lossless(self) -> bool:
        """True, whatever the view leaves out."""
        return True

    @property
    def knows_distribution(self) -> bool:
        """True: every token comes with its row."""
        return True

    @property
    def expands(self) -> bool:
        """True: any node can be scored."""
        return True

    def suits(self, target: Any, draft_model: Any) -> None:
        """Raise UnmetNeed where the target cannot read a text through part of its cache."""
        if not isinstance(target, Views) or not target.views:
            raise UnmetNeed(
                f"'{self.name}' reads part of the cache, which this model's passes cannot.",
                "Use it with a model that runs on laconic's slot cache; `laconic inspect` names the path.",
            )

    def start(self, context: Context, tools: Tools) -> Viewer:
        """Nothing is read: the target has read the text already."""
        target: Any = tools.target
        assert target is not None  # see Needs.target_parts
        return Viewer(context, target, Writer(context, target, tools.shape, tools.vocab_size, Nowhere()))

    @torch.inference_mode()
    def propose(
        self, states: Sequence[Viewer], budgets: Sequence[int], judges: Sequence[Judge | None]
    ) -> list[TokenTree]:
        """Grow all trees, one pass over the views for each round of them."""
        growths: dict[int, Growth] = {}
        for i, (state, budget, judge) in enumerate(zip(states, budgets, judges, strict=True)):
            tokens = state.context.tokens
            room = min(budget, state.target.context - len(tokens) + 1)
            if room > 0 and len(tokens) - state.slot.length <= _UNREAD and self._sees(state):
                growths[i] = Growth(state.writer, room, judge)
        trees = [EMPTY] * len(states)
        if growths:
            self._grow(growths, trees)
        return trees

    def _grow(self, growths: Mapping[int, Growth], trees: list[TokenTree]) -> None:
        live = list(growths.values())
        model: LanguageModel = live[0].writer.model
        with cast(RunsParts, model).partly(WHOLE):  # counted with the drafts
            while live := [growth for growth in live if growth.tree is None]:
                scores = model.score([growth.query for growth in live], [growth.writer.slot for growth in live])
                for row, growth in enumerate(live):
                    growth.advance(scores, row)
        for i, growth in growths.items():
            growth.writer.trim(growth.base - 1)
            if growth.tree is not None:
                trees[i] = replace(growth.tree, source=self.name, rows=growth.tree.rows or growth.rows)

    def _sees(self, state: Viewer) -> bool:
        """Bring a request's view up to what the target has read; whether there is one."""
        slot, tokens = state.slot, state.context.tokens
        target = cast(Views, state.target)
        if state.view is not None:
            state.writer.trim(min(slot.length, len(state.writer.cached)))
            old = slot.length - state.made >= self.refresh or slot.length < state.made
            if old or not target.follow(state.view, slot):
                state.close()
        if state.view is None:
            if not self.view.takes(slot.length):
                return False
            told = Telling(tokens, state.context.prompt_length, None)
            looks = tokens[max(slot.length - self.view.looks, 0) : slot.length] if self.view.looks else ()
            held = target.look(slot, looks)
            past = self.view.view(told, held, slot.length) if held else None
            if past is None:
                return False
            state.view, state.made = target.view(past), slot.length
            target.follow(state.view, slot)
        state.writer.slot, state.writer.cached = state.view, tokens[: slot.length]
        return True

    def finish(self, state: Viewer) -> None:
        """Give the view back."""
        state.close()
