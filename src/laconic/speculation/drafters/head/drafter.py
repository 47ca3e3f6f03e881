"""What drafters with a head on the target share: it reads what the target's layers put out, and grows any tree from
there.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from laconic.policy import Needs
from laconic.speculation.base import (
    EMPTY,
    Context,
    Drafter,
    Drafting,
    Expand,
    Grown,
    Judge,
    Row,
    TokenTree,
    Tools,
)
from laconic.speculation.drafters.head.contract import Span
from laconic.speculation.drafters.head.files import Loaded
from laconic.speculation.drafters.head.hearing import Hearing, hearing
from laconic.speculation.drafters.head.memory import Memory, causal
from laconic.speculation.drafters.head.rows import rows_of
from laconic.speculation.drafters.history import common_prefix

_CHUNK = 512
"""Tokens of a text that are read in one call."""


@dataclass(slots=True)
class Reading:
    """State of one request: how far the head has read its text. ``read`` are the tokens up to there.

    After n + 1 tokens the memory holds n pairs, and ``tip [width]`` is the state at the last of them.
    """

    context: Context
    tools: Tools
    read: list[int] = field(default_factory=list)
    memory: Memory = field(default_factory=Memory)
    tip: Tensor | None = None

    @property
    def pairs(self) -> int:
        """Pairs that the head has read."""
        return max(len(self.read) - 1, 0)

    def trim(self) -> None:
        """Go back to where the text is still the one that was read; drafted entries are forgotten."""
        same = common_prefix(self.read, self.context.tokens)
        if same < len(self.read):
            del self.read[same:]
            self.tip = None
        if self.memory.lacks(self.pairs):
            self.read.clear()
        self.memory.trim(self.pairs)


class Growth:
    """One request's draft under construction."""

    __slots__ = ("expand", "nodes", "places", "reading", "rows", "states", "tree", "wanted")

    def __init__(self, reading: Reading, budget: int, judge: Judge | None) -> None:
        self.reading = reading
        self.nodes = Grown()
        self.rows: dict[int, Row] = {}
        assert reading.tip is not None
        self.states: dict[int, Tensor] = {-1: reading.tip}
        self.places: dict[int, list[int]] = {-1: []}
        """Of each node that was looked at, the entries on its way among those that the memory holds."""
        self.expand: Expand = reading.tools.shape.grow(self.nodes, budget, reading.context, judge)
        self.tree: TokenTree | None = None
        self.wanted: list[int] = []
        self.ask(None)

    @property
    def context(self) -> Context:
        """The request's."""
        return self.reading.context

    def ask(self, rows: Sequence[Row] | None) -> None:
        """Give the shape the rows that it wanted, and hear which it wants next."""
        try:
            self.wanted = next(self.expand) if rows is None else self.expand.send(rows)
        except StopIteration as end:
            self.tree = end.value

    def fresh(self) -> list[int]:
        """Wanted nodes that have no state yet."""
        return [node for node in self.wanted if node not in self.states]

    def seen(self, fresh: list[int]) -> Tensor | None:
        """What these nodes see of the memory with their entries appended; None where a single one sees all."""
        memory, depth = self.reading.memory, self.nodes
        begun = memory.filled - memory.gone
        for i, node in enumerate(fresh):
            self.places[node] = [*self.places[depth.parents[node]], begun + i]
        text = [memory.sees(self.reading.pairs + depth.below(node) - 1) for node in fresh]
        if len(fresh) == 1 and text[0].start == 0 and len(self.places[fresh[0]]) == begun + 1 - text[0].stop:
            return None
        seen = torch.zeros(len(fresh), begun + len(fresh), dtype=torch.bool)
        for i, node in enumerate(fresh):
            seen[i, text[i]] = True
            seen[i, self.places[node]] = True
        return seen


class HeadDrafter(Drafter):
    """Base of drafters with a head on the target. A subclass says where the head comes from.

    It reads what some of the target's layers put out along the text, which the target keeps beside its cache, and knows
    the distribution of every token that it proposes, over the tokens that it can say. All requests that draft share its
    passes. It drafts from the second pass on, and waits wherever a controller has written text that the target has not
    read yet.
    """

    needs = Needs(target_layers=True)

    def head_of(self, tools: Tools) -> Loaded:
        """The head for the target of a run."""
        raise NotImplementedError

    @property
    def knows_distribution(self) -> bool:
        """True: every token comes with its row."""
        return True

    @property
    def expands(self) -> bool:
        """True: any node can be looked at."""
        return True

    @property
    def own_looks(self) -> int:
        """Passes of the head; with ``early`` layers each of them comes with a pass of those, which is counted."""
        return self._passes[0]

    @cached_property
    def _passes(self) -> list[int]:
        return [0]

    def start(self, context: Context, tools: Tools) -> Reading:
        """Nothing is read before the first draft."""
        return Reading(context, tools)

    @torch.inference_mode()
    def propose(
        self, states: Sequence[Reading], budgets: Sequence[int], judges: Sequence[Judge | None]
    ) -> list[TokenTree]:
        """Read what is new, then grow all trees, one call for each round of all of them."""
        if not states:
            return []
        loaded = self.head_of(states[0].tools)
        with hearing(states[0].tools, loaded.head.shape.early) as heard:
            return self._propose(states, budgets, judges, loaded, heard)

    def _propose(
        self,
        states: Sequence[Reading],
        budgets: Sequence[int],
        judges: Sequence[Judge | None],
        loaded: Loaded,
        heard: Hearing,
    ) -> list[TokenTree]:
        for reading in states:
            reading.memory.window = loaded.head.window
        self._read(states, loaded, heard)
        most = sys.maxsize if loaded.head.depth is None else loaded.head.depth
        growths: list[Growth | None] = []
        for reading, budget, judge in zip(states, budgets, judges, strict=True):
            here = reading.tip is not None and len(reading.read) == len(reading.context.tokens)
            growths.append(Growth(reading, min(budget, most), judge) if here and budget > 0 else None)
        live = [growth for growth in growths if growth is not None and growth.tree is None]
        while live:
            self._advance(live, loaded, heard)
            live = [growth for growth in live if growth.tree is None]
        for reading in states:
            reading.memory.trim(reading.pairs)
        return [
            EMPTY if growth is None or growth.tree is None else
            replace(growth.tree, source=self.name, rows=growth.tree.rows or growth.rows)
            for growth in growths
        ]  # fmt: skip

    def _read(self, states: Sequence[Reading], loaded: Loaded, heard: Hearing) -> None:
        """Let the head read the pairs that the target has got since; long texts in chunks, one request after the
        other.
        """
        layers = loaded.head.shape.layers
        due: list[tuple[Reading, Tensor]] = []
        for reading in states:
            reading.trim()
            outputs = reading.context.outputs
            features = outputs(reading.pairs, layers) if outputs is not None else None
            if features is None:
                continue
            features = features[: heard.known(reading.context) - 1 - reading.pairs]  # the last token's has no pair yet
            if not len(features):
                continue
            while len(features) > _CHUNK:
                self._read_all([(reading, features[:_CHUNK])], loaded, heard)
                features = features[_CHUNK:]
            due.append((reading, features))
        if due:
            self._read_all(due, loaded, heard)

    def _read_all(self, due: Sequence[tuple[Reading, Tensor]], loaded: Loaded, heard: Hearing) -> None:
        head = loaded.ready(due[0][1])
        self._passes[0] += not head.shape.early
        spans, ranges, begin = [], [], 0
        for reading, features in due:
            pairs, count = reading.pairs, len(features)
            memory = reading.memory
            seen = None if count == 1 and not memory.sees(pairs).start else causal(memory, count)
            spans.append(Span(reading.memory, begin, begin + count, torch.arange(pairs, pairs + count), seen))
            ranges.append((pairs + 1, pairs + 1 + count))
            begin += count
            reading.read = reading.context.tokens[: pairs + 1 + count]
        listened = heard.text([reading.context for reading, _ in due], ranges)
        states = head.read(listened, torch.cat([part for _, part in due]), spans)
        for (reading, _), span in zip(due, spans, strict=True):
            reading.memory.commit()
            reading.tip = states[span.end - 1]

    def _advance(self, live: Sequence[Growth], loaded: Loaded, heard: Hearing) -> None:
        """One round of all growths: states of the wanted nodes that have none, then their rows."""
        head = loaded.ready(live[0].states[-1])
        spans, parents, depths, begin = [], [], [], 0
        steps: list[list[int]] = []
        for growth in live:
            fresh = growth.fresh()
            steps.append(fresh)
            if not fresh:
                continue
            nodes, reading = growth.nodes, growth.reading
            below = [nodes.below(node) - 1 for node in fresh]
            positions = torch.tensor([reading.pairs + depth for depth in below])
            spans.append(Span(reading.memory, begin, begin + len(fresh), positions, growth.seen(fresh)))
            parents += [growth.states[nodes.parents[node]] for node in fresh]
            depths += below
            begin += len(fresh)
        if begin:
            self._passes[0] += not head.shape.early
            busy = [(growth, fresh) for growth, fresh in zip(live, steps, strict=True) if fresh]
            listened = heard.drafted([growth for growth, _ in busy], [fresh for _, fresh in busy])
            states = head.step(torch.stack(parents), listened, depths, spans)
            made = iter(states)
            for growth, fresh in zip(live, steps, strict=True):
                growth.states.update((node, next(made)) for node in fresh)
        wanted = [(growth, node) for growth in live for node in growth.wanted]
        stacked = torch.stack([growth.states[node] for growth, node in wanted])
        logits = head.logits(stacked, [growth.nodes.below(node) for growth, node in wanted])
        begin, kept = 0, head.kept
        for growth in live:
            mine = logits[begin : begin + len(growth.wanted)]
            begin += len(growth.wanted)
            context = growth.reading.context
            foresees = not context.sampling.greedy and context.drafting is Drafting.FORESEE
            rows = rows_of(mine, kept, growth.reading.tools.vocab_size, context, growth.wanted, growth.nodes, foresees)
            growth.rows.update(zip(growth.wanted, rows, strict=True))
            growth.ask(rows)

    def finish(self, state: Reading) -> None:
        """Forget the memory."""
        state.memory = Memory()
        state.read.clear()
        state.tip = None
