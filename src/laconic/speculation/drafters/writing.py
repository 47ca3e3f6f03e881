"""Shared by drafters that write with a language model: drafts grown pass by pass over a slot of its cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from laconic.models.base import LanguageModel, Scores, ScoreTree, Slot, chain
from laconic.speculation.base import Context, Drafting, Expand, Grown, Judge, Row, TokenTree, TreeShape, way_down
from laconic.speculation.drafters.history import common_prefix
from laconic.speculation.draws import Floats, Tokens, foresee, warp

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
    inner: Any = None
    """State of who drafts for the draft model, if anybody does."""

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

    ``ahead`` are guesses at the chain (staged speculation): they are scored in the first pass, and as far as the shape
    adds these very tokens, their rows are there and no pass is made.
    """

    __slots__ = (
        "ahead", "base", "expand", "nodes", "offset", "query", "rows", "tip", "tree", "unread", "wanted", "writer",
    )  # fmt: skip

    def __init__(self, writer: Writer, budget: int, judge: Judge | None, ahead: Sequence[int] = ()) -> None:
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
        self.ahead = list(ahead)
        if self.ahead:
            self.query = chain([*self.query.tokens, *self.ahead])

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
        along = self.tip is not None
        # Row ids: a committed chain ends at its newest node; a whole tree is scored with its nodes in order.
        self._hand(scores, index, [self.offset] if along else self.wanted)
        while self._follows() and self.ahead and self.nodes.tokens[self.wanted[0]] == self.ahead[0]:
            self.tip = self.wanted[0]
            self.unread = [*self.unread, self.ahead.pop(0)]
            self.offset += 1
            self._hand(scores, index, [self.offset])
        self.ahead = []
        if along:
            self.writer.keep(self.unread)
        if self.tree is not None:
            return
        tokens, parents = self.nodes.tokens, self.nodes.parents
        if self._follows():
            self.tip = self.wanted[0]
            self.query, self.offset, self.unread = chain([tokens[self.tip]]), 0, [tokens[self.tip]]
        else:
            self.tip = None
            self.writer.trim(self.base)
            self.query = ScoreTree(list(tokens), list(parents))

    def _follows(self) -> bool:
        """Whether the one node that is wanted is the next one of a chain."""
        return (
            self.tree is None
            and self.tip is not None
            and len(self.wanted) == 1
            and self.nodes.parents[self.wanted[0]] == self.tip
        )

    def _hand(self, scores: Scores, index: int, ids: Sequence[int]) -> None:
        """Give the shape the rows ``ids`` of a pass for the nodes that it wanted."""
        logits, best, context = scores.of(index), scores.best(index), self.writer.context
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

    def _ask(self, rows: list[Row] | None) -> None:
        try:
            self.wanted = next(self.expand) if rows is None else self.expand.send(rows)
        except StopIteration as end:
            self.tree = end.value
