"""STAND: n-grams that remember the target's probabilities, so that drafts can be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np
import pydantic
from pydantic import Field

from laconic.policy import Card, Needs, knobs
from laconic.speculation.base import (
    EMPTY,
    HEARD,
    Context,
    Drafter,
    Grown,
    Judge,
    Row,
    TokenTree,
    Tools,
    TreeShape,
    Verdict,
)
from laconic.speculation.drafters.few import NOTHING, Ints, few_rows
from laconic.speculation.drafters.growing import grow
from laconic.speculation.drafters.heard import candidates, taken, windows
from laconic.speculation.drafters.index import Index
from laconic.speculation.drafters.learned import HINT, About, Beliefs, Learned
from laconic.speculation.drafters.mixture import Guesses, Mixture
from laconic.speculation.drafters.ngrams import NGrams, shares
from laconic.types import Sampling

Order = Annotated[int, Field(ge=1, le=HEARD)]


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered: n-grams, and how far to believe them, when greedy and when sampling.

    ``tables`` are the n-grams, and behind them those of earlier texts, which stay as they are.
    """

    tables: tuple[NGrams, ...]
    greedy: Mixture
    sampled: Mixture

    def mixture(self, sampling: Sampling) -> Mixture:
        """The one for requests of this kind."""
        return self.greedy if sampling.greedy else self.sampled


@dataclass(slots=True)
class Remembering:
    """State of one request."""

    context: Context
    shape: TreeShape
    vocab_size: int
    memory: Memory
    text: Index


@knobs
class Stand(Drafter):
    """Draft from the probabilities that the target had after these last tokens before; draw them where it samples.

    Source: STAND (Song et al. 2025). As in Token Recycling every scored node teaches, refused ones too; what is kept is
    the target's ``k`` likeliest tokens with their logits, after the last one, two, three ... tokens. A request's
    temperature is applied to them when drafting, and drafts for verifiers that want them drawn are: without replacement
    by the Gumbel-top-k trick, from a distribution that is told. So they are exact at any temperature, and where the
    target's draw can be foreseen the guess is at that draw.

    The authors look up the longest known context. Here the levels are mixed, with weights that are learned while
    decoding (see Mixture), and what followed these tokens in the request's own text is one more voice: a prompt that is
    read without logits teaches nothing else. The run's shape grows the tree (``best-first``, ``sequoia``); theirs was
    fitted to data.

    ``learned`` are n-grams of texts that the target wrote before, with what it thought on average after each (``laconic
    fit ngrams OUT``); they are levels of their own. So the first request knows what the thousandth would. That is ADED
    (Liu et al. 2024), a trigram matrix of a corpus that follows the target's texts: with ``orders=1/2``, thoughts in
    place of its counts, and a tree grown by the shape where it searches.
    """

    card = Card(
        paper="Accelerated Test-Time Scaling with Model-Free Speculative Sampling", lossless=True, catalogue=(119, 168)
    )
    needs = Needs(target_rows=True)
    files: ClassVar[frozenset[str]] = frozenset({"learned"})
    hints: ClassVar[dict[str, str]] = {"learned": HINT}

    orders: Annotated[tuple[Order, ...], Field(min_length=1)] = (1, 2, 3)
    """Lengths of the contexts that are remembered, tokens, rising; written 1/2/3."""
    k: Annotated[int, Field(ge=1, le=64)] = 8
    """Candidates kept for each."""
    text: tuple[Annotated[int, Field(ge=1)], ...] = (1, 2, 4)
    """Lengths of contexts looked up in the request's own text, rising; written 1/2/4, empty for none."""
    bits: Annotated[int, Field(ge=4, le=24)] = 17
    """Each order has 2 to this power places, of 8 + 6 k bytes; newer contexts take the places of older ones."""
    shared: bool = True
    """Whether requests of this policy object learn from each other; else each begins with nothing but ``learned``."""
    learned: str = ""
    """Folder that ``laconic fit ngrams`` wrote; none: all is learned while decoding."""

    @pydantic.field_validator("orders", "text", mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        return tuple(part for part in given.split("/") if part) if isinstance(given, str) else given

    @pydantic.field_validator("orders", "text")
    @classmethod
    def _rising(cls, given: tuple[int, ...]) -> tuple[int, ...]:
        if list(given) != sorted(set(given)):
            raise ValueError(f"{'/'.join(map(str, given))} does not rise")
        return given

    @property
    def knows_distribution(self) -> bool:
        """True: of every token, though over few."""
        return True

    @property
    def expands(self) -> bool:
        """True: any context can be looked up."""
        return True

    @cached_property
    def _everyone(self) -> Memory:
        return self._fresh()

    @cached_property
    def _read_before(self) -> tuple[About, NGrams] | None:
        """What was learned from earlier texts, as a table, and what it is; read once."""
        if not self.learned:
            return None
        found = Learned.load(self.learned)
        return found.about, found.table(self.k)

    def _fresh(self) -> Memory:
        tables = NGrams(self.orders, self.k, self.bits), *((self._read_before[1],) if self._read_before else ())
        levels, beliefs = sum(len(table.orders) for table in tables), self._beliefs
        weights = (None, None) if beliefs is None else (beliefs.greedy, beliefs.sampled)
        return Memory(tables, *(Mixture(levels, len(self.text), each) for each in weights))

    @property
    def _beliefs(self) -> Beliefs | None:
        """How far to believe which source, where that was learned of these very sources."""
        found = self._read_before[0].beliefs if self._read_before else None
        return found if found is not None and (found.orders, found.text) == (self.orders, self.text) else None

    def suits(self, target: Any, draft_model: Any) -> None:
        """Raise StoreError where the n-grams that were learned before are not the target's."""
        if self._read_before:
            self._read_before[0].suits(target)

    def start(self, context: Context, tools: Tools) -> Remembering:
        """Read the prompt."""
        memory = self._everyone if self.shared else self._fresh()
        return Remembering(context, tools.shape, tools.vocab_size, memory, Index(self.text))

    def propose(
        self, states: Sequence[Remembering], budgets: Sequence[int], judges: Sequence[Judge | None]
    ) -> list[TokenTree]:
        """A tree for each request."""
        return [self._draft(*request) for request in zip(states, budgets, judges, strict=True)]

    def observe(self, states: Sequence[Remembering], verdicts: Sequence[Verdict]) -> None:
        """See who was right about the text, then keep what the target thinks now, of every node that it scored."""
        for state, verdict in zip(states, verdicts, strict=True):
            assert verdict.rows is not None
            above = windows(verdict, HEARD)
            path, tokens = taken(verdict)
            guesses = self._guesses(state, above[path])
            state.memory.mixture(state.context.sampling).learn(guesses, tokens)
            state.memory.tables[0].learn(above, *candidates(verdict.rows, self.k))

    def _guesses(self, state: Remembering, above: Ints) -> Guesses:
        """What all sources say comes after each of ``above [n, HEARD]``."""
        sampling = state.context.sampling
        heat = 1.0 if sampling.greedy else max(sampling.temperature, 1e-3)
        return Guesses(*shares(state.memory.tables, above, heat), state.text.followed(above))

    def _draft(self, state: Remembering, budget: int, judge: Judge | None) -> TokenTree:
        context = state.context
        if budget <= 0:
            return EMPTY
        state.text.read(context.tokens)
        nodes, length = Grown(), len(context.tokens)
        last = context.tokens[-HEARD:]
        above = {-1: (*(NOTHING,) * (HEARD - len(last)), *last)}
        mixture = state.memory.mixture(context.sampling)

        def rows(wanted: list[int]) -> list[Row]:
            for node in wanted:
                if node >= 0:
                    above[node] = (*above[nodes.parents[node]][1:], nodes.tokens[node])
            guesses = self._guesses(state, np.array([above[node] for node in wanted]))
            places = [length + nodes.below(node) for node in wanted]
            return few_rows(*mixture.combine(guesses), context, places, state.vocab_size)

        return grow(state.shape, nodes, budget, context, judge, rows, self.name)
