"""What all drafters share that draft with a part of the target's own layers; they differ in which part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from laconic.models.base import LanguageModel, RunsParts, Slot
from laconic.models.partial import LayerPlan
from laconic.policy import Needs
from laconic.speculation.base import EMPTY, Context, Drafter, Judge, TokenTree, Tools
from laconic.speculation.drafters.some import Some
from laconic.speculation.drafters.writing import Growth, Writer

_UNREAD = 8
"""Tokens that the target has not read yet with which a draft may begin; the pass to come reads more than these."""


@dataclass(slots=True)
class Own:
    """State of one request. Its ``writer`` writes into the target's cache, which is lent to it for a round at a time.

    ``learned`` is what the way of choosing layers keeps of the request.
    """

    context: Context
    target: RunsParts
    writer: Writer
    learned: Any = None

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Within, drafted tokens may be committed behind the text; then the cache is as the target left it."""
        slot = self.slot
        length = slot.length
        self.writer.slot, self.writer.cached = slot, self.context.tokens[:length]
        try:
            yield
        finally:
            slot.rollback(slot.length - length)

    @property
    def slot(self) -> Slot:
        """The request's place in the target's cache."""
        assert self.context.slot is not None
        return self.context.slot()


class SelfDrafter(Drafter):
    """Base of them. A subclass says in :meth:`plan` which parts of which layers draft.

    The draft is written over the target's own cache: what the whole model has read of the text is what its layers look
    at, so nothing is read twice, and keys and values of drafted tokens lie where verification will write its own.
    Requests whose plans are equal share passes. ``keep`` limits what can be drafted, which matters more the fewer
    layers run: the output head costs what it always does.
    """

    needs = Needs(target_parts=True)
    files = frozenset({"keep"})

    if TYPE_CHECKING:

        @property
        def keep(self) -> str:
            """A knob of every subclass, behind its own: the file of the tokens that may be drafted."""

    @cached_property
    def _some(self) -> Some:
        return Some(self.keep, self.name)

    @property
    def knows_distribution(self) -> bool:
        """True: every token comes with its row."""
        return True

    @property
    def expands(self) -> bool:
        """True: any node can be scored."""
        return True

    def suits(self, target: Any, draft_model: Any) -> None:
        """Raise HeadError for a choice of tokens of another vocabulary."""
        self._some.suits(target, target)

    def plan(self, state: Own) -> LayerPlan | None:
        """The layers that draft this round of a request; None where none is worth it."""
        raise NotImplementedError

    def most(self, state: Own, budget: int) -> int:
        """How many of ``budget`` tokens are worth drafting."""
        return budget

    def start(self, context: Context, tools: Tools) -> Own:
        """Nothing is read: the target has read the text already."""
        target: Any = tools.target
        assert target is not None  # see Needs.target_parts
        assert context.slot is not None
        return Own(context, target, Writer(context, target, tools.shape, tools.vocab_size, context.slot()))

    @torch.inference_mode()
    def propose(self, states: Sequence[Own], budgets: Sequence[int], judges: Sequence[Judge | None]) -> list[TokenTree]:
        """Grow the trees of all requests that draft with the same layers together, one pass for each round of them."""
        trees = [EMPTY] * len(states)
        together: dict[LayerPlan, list[int]] = {}
        for i, state in enumerate(states):
            plan = self.plan(state)
            if plan is not None:
                together.setdefault(plan, []).append(i)
        for plan, group in together.items():
            self._grow(plan, group, trees, states, budgets, judges)
        return trees

    def _grow(
        self,
        plan: LayerPlan,
        group: Sequence[int],
        trees: list[TokenTree],
        states: Sequence[Own],
        budgets: Sequence[int],
        judges: Sequence[Judge | None],
    ) -> None:
        growths: dict[int, Growth] = {}
        model: LanguageModel = states[group[0]].writer.model
        with ExitStack() as stack:
            for i in group:
                stack.enter_context(states[i].lent())
            stack.enter_context(states[group[0]].target.partly(plan))
            stack.enter_context(self._some.only(model))
            for i in group:
                tokens, read = len(states[i].context.tokens), states[i].slot.length
                budget = min(self.most(states[i], budgets[i]), model.context - tokens + 1)
                if budget > 0 and tokens - read <= _UNREAD:
                    growths[i] = Growth(states[i].writer, budget, judges[i])
            live = [growth for growth in growths.values() if growth.tree is None]
            while live:
                scores = model.score([growth.query for growth in live], [growth.writer.slot for growth in live])
                for row, growth in enumerate(live):
                    growth.advance(scores, row)
                live = [growth for growth in live if growth.tree is None]
        for i, growth in growths.items():
            tree = growth.tree
            if tree is not None:
                trees[i] = replace(tree, source=self.name, rows=tree.rows or growth.rows)
