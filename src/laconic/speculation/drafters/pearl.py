"""Drafting goes on while the target checks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any, ClassVar, cast

import pydantic
from pydantic import Field
from torch import Tensor

from laconic.errors import UnmetNeed
from laconic.policy import Card, Family, knobs, registry
from laconic.speculation.base import (
    EMPTY,
    Context,
    Drafter,
    Go,
    Judge,
    Node,
    Row,
    TokenTree,
    Tools,
    TreeShape,
    Verdict,
    hidden_of,
)


@dataclass(frozen=True, slots=True)
class Ready:
    """A token drafted ahead: what the drafter thought in its place, and what it was drawn from, if it was."""

    token: int
    row: Row | None
    probs: Tensor | None

    def node(self, depth: int) -> Node:
        """It as a length rule sees it; a drafter that shows no rows has judged by itself."""
        if self.row is None:
            return Node(depth, None, 1.0)
        return Node(depth, self.row.probs, self.row.confidence, hidden=hidden_of(self.row))


@dataclass(slots=True)
class Ahead:
    """State of one request. ``ready`` continue the first ``base`` tokens of its text.

    The drafter has a context of its own, ``view``, whose text runs ahead of the request's.
    """

    context: Context
    view: Context
    state: Any
    base: int = 0
    ready: list[Ready] = field(default_factory=list)

    def settle(self) -> None:
        """Drop what the text has caught up with; all of it, where the text went another way."""
        new = self.context.tokens[self.base :]
        held = len(self.context.tokens) >= self.base and len(new) <= len(self.ready)
        held = held and self.view.tokens[: self.base] == self.context.tokens[: self.base]
        held = held and all(token == mine.token for token, mine in zip(new, self.ready, strict=False))
        self.ready = self.ready[len(new) :] if held else []
        self.base = len(self.context.tokens)

    def look(self, tokens: Sequence[int]) -> None:
        """Let the drafter see the request's text with ``tokens`` behind it."""
        self.view.tokens[:] = [*self.context.tokens, *tokens]


@knobs
class Pearl(Drafter):
    """Let a drafter draft on, in a thread of its own, while the target checks what it has drafted.

    A draft assumes that everything before it will be accepted. Where that is so and the drafter has also guessed the
    token that the target adds, the next draft is there when the target is done (*post-verify*). Where it is not, the
    target makes its next pass at once, without a draft, while drafting begins anew, and that pass checks the first new
    token (*pre-verify*). How many tokens are drafted meanwhile is the ratio of the two models' speeds, as in the paper,
    because drafting stops when the target is done; ``most`` bounds it. The run's length rule decides how many of them
    are scored. Of no use where the two models share what they compute with: give each its own cores, or its own
    device. Chains only. Requests with logit rules (grammars, biases) are drafted for in turn, not ahead.
    """

    card = Card(
        paper="PEARL: Parallel Speculative Decoding with Adaptive Draft Length",
        catalogue=(16,),
        lossless=True,
        timed=True,
        arxiv="2408.11850",
    )
    parts: ClassVar[Mapping[str, Family]] = {"drafter": "drafter"}
    hints: ClassVar[Mapping[str, str]] = {"drafter": "Say who drafts, in brackets: pearl:[draft-model]."}

    drafter: pydantic.InstanceOf[Drafter]
    """Who drafts, in brackets: ``[draft-model]``."""
    most: Annotated[int, Field(ge=1, le=256)] = 24
    """Tokens that are drafted ahead at most."""

    @cached_property
    def _lane(self) -> Lane:
        return Lane()

    @property
    def knows_distribution(self) -> bool:
        """Whether the drafter does."""
        return self.drafter.knows_distribution

    @property
    def knows_hidden(self) -> bool:
        """Whether the drafter does."""
        return self.drafter.knows_hidden

    def suits(self, target: Any, draft_model: Any) -> None:
        """Raise UnmetNeed for a drafter that must see what the target is still computing, or chooses among ways."""
        for policy in self.drafter.walk():
            needs = policy.needs
            if needs.target_hidden or needs.target_layers or needs.target_rows or needs.target_parts:
                raise UnmetNeed(
                    f"'{policy.name}' drafts with what the target computes, which is not there while it does.",
                    "Let a draft model draft ahead: pearl:[draft-model].",
                )
        if self.drafter.choices:
            raise UnmetNeed(f"'{self.drafter.name}' decides by what rounds cost; ahead of them nobody knows.")

    def start(self, context: Context, tools: Tools) -> Ahead:
        """Start the drafter on a text of its own."""
        view = replace(context, tokens=list(context.tokens))
        shape = cast(TreeShape, registry.build("shape", "chain"))
        return Ahead(context, view, self.drafter.start(view, replace(tools, shape=shape)))

    def propose(
        self, states: Sequence[Ahead], budgets: Sequence[int], judges: Sequence[Judge | None]
    ) -> list[TokenTree]:
        """What is ready of each draft; then let the drafter go on behind it."""
        self._lane.join()
        trees = [EMPTY] * len(states)
        ahead: list[Ahead] = []
        turns: list[int] = []
        for i, (state, budget, judge) in enumerate(zip(states, budgets, judges, strict=True)):
            state.settle()
            if state.context.ruled is not None:
                turns.append(i)
                continue
            trees[i] = self._checked(state, budget, judge)
            ahead.append(state)
        if turns:
            mine = [states[i] for i in turns], [budgets[i] for i in turns], [judges[i] for i in turns]
            for i, tree in zip(turns, self._in_turn(*mine), strict=True):
                trees[i] = tree
        self._lane.start(lambda halted: self._draft(ahead, halted))
        return trees

    def _checked(self, state: Ahead, budget: int, judge: Judge | None) -> TokenTree:
        """As much of what is ready as the budget and the length rule leave."""
        kept: list[Ready] = []
        for mine in state.ready[:budget]:
            go = Go.ON if judge is None else judge(mine.node(len(kept)))
            if go is Go.STOP:
                break
            kept.append(mine)
            if go is Go.LAST:
                break
        probs_of = [mine.probs for mine in kept if mine.probs is not None]
        rows = {at - 1: mine.row for at, mine in enumerate(kept) if mine.row is not None}
        tree = TokenTree.of_chain([mine.token for mine in kept], self.name, probs_of if probs_of else None)
        return replace(tree, rows=rows)

    def _in_turn(
        self, states: Sequence[Ahead], budgets: Sequence[int], judges: Sequence[Judge | None]
    ) -> list[TokenTree]:
        """Draft now, for requests whose rules depend on where the text is."""
        for state in states:
            state.look(())
            state.view.ruled = state.context.ruled
        drafts = self.drafter.propose([state.state for state in states], budgets, judges)
        return [replace(tree, source=self.name) for tree in drafts]

    def _draft(self, states: Sequence[Ahead], halted: Callable[[], bool]) -> None:
        """Draft behind what is ready until the target is done. Runs in the lane, beside the target's pass."""
        due = [state for state in states if len(state.ready) < self.most and not _over(state)]
        if not due:
            return
        for state in due:
            state.look([mine.token for mine in state.ready])

        def judge(node: Node) -> Go:
            return Go.STOP if node.depth and halted() else Go.ON

        budgets = [self.most - len(state.ready) for state in due]
        drafts = self.drafter.propose([state.state for state in due], budgets, [judge] * len(due))
        for state, tree in zip(due, drafts, strict=True):
            probs: Sequence[Tensor | None] = tree.draft_probs or [None for _ in tree.tokens]
            rows = [tree.rows.get(at - 1) for at in range(len(tree))]
            state.ready += map(Ready, tree.tokens, rows, probs)

    def observe(self, states: Sequence[Ahead], verdicts: Sequence[Verdict]) -> None:
        """Pass it on to a drafter that learns from rounds, once it has stopped drafting."""
        if type(self.drafter).observe is Drafter.observe:
            return
        self._lane.join()
        for state in states:
            state.settle()
            state.look(())
        self.drafter.observe([state.state for state in states], verdicts)

    def complete(
        self, state: Ahead, base: int, tokens: Sequence[int], most: int, ends: Callable[[int], bool]
    ) -> list[int]:
        """The drafter's own guess; it stops drafting for that."""
        self._lane.join()
        state.settle()
        state.look(())
        return self.drafter.complete(state.state, base, tokens, most, ends)

    def finish(self, state: Ahead) -> None:
        """Let the drafter finish, once it has stopped drafting."""
        self._lane.join()
        self.drafter.finish(state.state)


def _over(state: Ahead) -> bool:
    """Whether what is ready ends the text."""
    return bool(state.ready) and state.ready[-1].token in state.context.ends


class Lane:
    """A thread that does one job at a time, and can be asked to hurry."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1, "laconic-draft")
        self._halt = threading.Event()
        self._job: Future[None] | None = None

    def start(self, job: Callable[[Callable[[], bool]], None]) -> None:
        """Begin ``job``, which is given a way to ask whether it should stop."""
        self._halt.clear()
        self._job = self._threads.submit(job, self._halt.is_set)

    def join(self) -> None:
        """Ask the job to stop and wait until it has. Raises what it raised."""
        job, self._job = self._job, None
        if job is not None:
            self._halt.set()
            job.result()
