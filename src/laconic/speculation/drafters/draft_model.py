"""A smaller model writes the draft."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor

from laconic.errors import UnmetNeed
from laconic.models.base import LanguageModel, Narrows, Scores, ScoreTree, Slot, chain
from laconic.policy import Card, Needs, knobs
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
    TreeShape,
    way_down,
)
from laconic.speculation.drafters.history import common_prefix
from laconic.speculation.draws import Floats, Tokens, foresee, warp
from laconic.speculation.vocabulary import Kept

UNREAD_WITH_DRAFT = 32
"""Most uncached tokens scored along with the draft; for more, a prefill pass (no logits) is cheaper."""


class LogitsRow:
    """A Row over one row of draft logits; distributions are computed when first asked for.

    ``foresee`` is the position whose draw by the target is to be guessed, None where it is not. ``hidden [width]`` is
    the state that the logits were made of, None where the pass kept none.
    """

    __slots__ = ("_argmax", "_chances", "_context", "_foresee", "_logits", "_probs", "hidden")

    def __init__(
        self, logits: torch.Tensor, argmax: int, context: Context, foresee: int | None, hidden: torch.Tensor | None
    ) -> None:
        self.hidden = hidden
        self._logits = logits
        self._argmax = argmax
        self._context = context
        self._foresee = foresee
        self._probs: torch.Tensor | None = None
        self._chances: tuple[Tokens, Floats] | None = None

    @property
    def probs(self) -> torch.Tensor:
        """``[vocab]``: what the request's sampling draws from; the untempered softmax when greedy."""
        if self._probs is None:
            logits, sampling = self._logits, self._context.sampling
            self._probs = logits.float().softmax(-1) if sampling.greedy else warp(logits, sampling)
        return self._probs

    @property
    def best(self) -> int:
        """The likeliest token, or the one that the target's random numbers point to."""
        if self._foresee is None:
            return self._argmax
        tokens, chances = self._ahead
        return int(tokens[chances.argmax()])

    @property
    def confidence(self) -> float:
        """Probability of ``best``."""
        return float(self.probs[self._argmax] if self._foresee is None else self._ahead[1].max())

    def top(self, k: int) -> list[tuple[int, float]]:
        """The ``k`` likeliest tokens that can be drawn at all."""
        if self._foresee is None:
            values, tokens = (part.tolist() for part in self.probs.topk(min(k, len(self.probs))))
        else:
            allowed, chances = self._ahead
            order = (-chances).argsort()[:k]
            values, tokens = chances[order].tolist(), allowed[order].tolist()
        return [(t, p) for t, p in zip(tokens, values, strict=True) if p > 0]

    @property
    def _ahead(self) -> tuple[Tokens, Floats]:
        """Tokens that the target may draw, and their chances."""
        if self._chances is None:
            assert self._foresee is not None
            self._chances = foresee(self.probs, self._context.draws, self._foresee)
        return self._chances


class Silent:
    """A Row of nothing: the request's rules leave no token that the draft model may write."""

    best = None
    probs = None
    confidence = 0.0

    def top(self, k: int) -> list[tuple[int, float]]:
        """None."""
        return []


SILENT = Silent()


def widened(scores: Scores, width: int) -> Scores:
    """Draft logits as wide as the target's: tokens that only one of them has room for are never drafted."""
    missing = width - scores.flat.shape[-1]
    if missing == 0:
        return scores
    flat = torch.nn.functional.pad(scores.flat, (0, missing), value=-torch.inf)
    return Scores(flat, scores.starts, scores.sizes, scores.hidden)


@dataclass(slots=True)
class Writer:
    """State of one request: its slot in the draft model and the tokens cached there."""

    context: Context
    model: LanguageModel
    shape: TreeShape
    vocab_size: int
    slot: Slot
    cached: list[int] = field(default_factory=list)

    def known(self, token: int) -> bool:
        """Whether the draft model has an embedding for it: families pad their checkpoints differently."""
        return token < self.model.vocab_size

    def readable(self, tokens: Sequence[int]) -> list[int]:
        """The tokens as the draft model can read them: in place of one that it does not know, its first."""
        return [token if self.known(token) else 0 for token in tokens]

    def keep(self, tokens: Sequence[int]) -> None:
        """Commit the chain that was just scored."""
        self.slot.commit(range(len(tokens)))
        self.cached += tokens

    def trim(self, length: int) -> None:
        """Forget cached tokens beyond the first ``length``."""
        if length < len(self.cached):
            self.slot.rollback(len(self.cached) - length)
            del self.cached[length:]


class Growth:
    """One request's draft under construction. ``advance`` turns the rows of a pass into the next query.

    While the shape asks for one child of the newest node at a time, each scored node is committed, so a chain
    costs one new token a pass. Once it asks for anything else, the cache goes back to the committed text and the
    whole tree is scored in every pass: n nodes grown in r rounds cost about n r / 2 scored nodes, no extra pass.
    """

    __slots__ = ("base", "expand", "nodes", "offset", "query", "rows", "tip", "tree", "unread", "wanted", "writer")

    def __init__(self, writer: Writer, budget: int, judge: Judge | None) -> None:
        self.writer = writer
        self.nodes = Grown()
        self.rows: dict[int, Row] = {}
        self.expand: Expand = writer.shape.grow(self.nodes, budget, writer.context, judge)
        self.tree: TokenTree | None = None
        self.wanted: list[int] = []
        self.tip: int | None = -1
        self.base = len(writer.context.tokens)
        self._ask(None)
        self.query = self._text()

    def _text(self) -> ScoreTree:
        """The committed tokens that the draft model has not seen; the last one always, for its row."""
        writer, tokens = self.writer, self.writer.context.tokens
        writer.trim(min(common_prefix(writer.cached, tokens), len(tokens) - 1))
        pending = tokens[len(writer.cached) :]
        if len(pending) > UNREAD_WITH_DRAFT:
            writer.model.prefill(writer.slot, writer.readable(pending[:-1]))
            writer.cached += pending[:-1]
            pending = pending[-1:]
        self.offset, self.unread = len(pending) - 1, pending
        return chain(writer.readable(pending))

    def advance(self, scores: Scores, index: int) -> None:
        """Hand the rows that were wanted to the shape and prepare the next query."""
        if self.tip is not None:
            self.writer.keep(self.unread)
        logits, best, context = scores.of(index), scores.best(index), self.writer.context
        # Row ids: a committed chain ends at its newest node; a whole tree is scored with its nodes in order.
        ids = [self.offset] if self.tip is not None else self.wanted
        foresees = not context.sampling.greedy and context.drafting is Drafting.FORESEE
        places = [self.base + self.nodes.below(node) if foresees else None for node in self.wanted]
        hidden = scores.hidden_of(index)
        rows: list[Row] = []
        for node, i, at in zip(self.wanted, ids, places, strict=True):
            row, likeliest = logits[i], best[i]
            if context.ruled is not None:
                row = context.ruled(row, way_down(self.nodes.tokens, self.nodes.parents, node))
                likeliest = int(row.argmax())
                if row[likeliest] == -torch.inf:
                    rows.append(SILENT)
                    continue
            rows.append(LogitsRow(row, likeliest, context, at, None if hidden is None else hidden[i]))
        self.rows.update(zip(self.wanted, rows, strict=True))
        self._ask(rows)
        if self.tree is not None:
            return
        tokens, parents = self.nodes.tokens, self.nodes.parents
        if self.tip is not None and len(self.wanted) == 1 and parents[self.wanted[0]] == self.tip:
            self.tip = self.wanted[0]
            self.query, self.offset, self.unread = chain([tokens[self.tip]]), 0, [tokens[self.tip]]
        else:
            self.tip = None
            self.writer.trim(self.base)
            self.query = ScoreTree(list(tokens), list(parents))

    def _ask(self, rows: list[Row] | None) -> None:
        try:
            self.wanted = next(self.expand) if rows is None else self.expand.send(rows)
        except StopIteration as end:
            self.tree = end.value


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
    """

    card = Card(
        paper="Fast Inference from Transformers via Speculative Decoding",
        catalogue=(117, 127, 194),
        lossless=True,
        arxiv="2211.17192",
    )
    needs = Needs(draft_model=True)
    files = frozenset({"keep"})

    keep: str = ""
    """File of the tokens that may be drafted (``laconic fit vocab`` writes one); all of them without."""

    @cached_property
    def _kept(self) -> Tensor:
        """``[kept]``, the tokens that may be drafted."""
        return Kept.load(self.keep).tokens

    @cached_property
    def _known(self) -> dict[int, Tensor]:
        """Those of them that a model with so many tokens has; each made once."""
        return {}

    def suits(self, target: Any, draft_model: Any) -> None:
        """Raise HeadError for a choice of tokens of another vocabulary, UnmetNeed for a model whose head is whole."""
        if not self.keep:
            return
        Kept.load(self.keep).check(target.vocab_size)
        if not isinstance(draft_model, Narrows):
            raise UnmetNeed(
                "'draft-model' cannot keep some tokens only of this draft model.",
                "Use it with a model that laconic runs itself (CausalLM).",
            )

    def _narrowed(self, model: LanguageModel) -> AbstractContextManager[None]:
        """Within, the output head is asked about the tokens that may be drafted."""
        if not self.keep:
            return nullcontext()
        words = model.vocab_size
        if words not in self._known:
            self._known[words] = self._kept[self._kept < words]
        return cast(Narrows, model).narrowed(self._known[words])

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
        return Writer(context, tools.draft_model, tools.shape, tools.vocab_size, tools.draft_model.open())

    def propose(
        self, states: Sequence[Writer], budgets: Sequence[int], judges: Sequence[Judge | None]
    ) -> list[TokenTree]:
        """Grow all trees, one pass per round for all of them."""
        growths: list[Growth | None] = []
        for state, budget, judge in zip(states, budgets, judges, strict=True):
            room = state.model.context - len(state.context.tokens) + 1  # The last drafted token is never scored.
            room = room if state.known(state.context.tokens[-1]) else 0
            growths.append(Growth(state, min(budget, room), judge) if min(budget, room) > 0 else None)
        live = [g for g in growths if g is not None and g.tree is None]
        while live:
            with self._narrowed(live[0].writer.model):
                scores = live[0].writer.model.score([g.query for g in live], [g.writer.slot for g in live])
            scores = widened(scores, live[0].writer.vocab_size)
            for i, growth in enumerate(live):
                growth.advance(scores, i)
            live = [g for g in live if g.tree is None]
        return [
            EMPTY if g is None or g.tree is None else replace(g.tree, source=self.name, rows=g.tree.rows or g.rows)
            for g in growths
        ]

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
                with self._narrowed(model):
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
