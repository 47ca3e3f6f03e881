"""A draft model with another tokenizer writes on in its own tokens; its text is the draft."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from laconic.errors import UnmetNeed
from laconic.models.base import chain
from laconic.models.foreign.own import Own, own
from laconic.models.foreign.slot import ForeignSlot
from laconic.models.prefix import common_prefix
from laconic.policy import Card, Needs, knobs
from laconic.speculation.base import EMPTY, Context, Drafter, Go, Judge, Node, TokenTree, Tools

UNREAD_WITH_DRAFT = 32
"""Most tokens scored along with the first of a draft; more are prefilled, without logits."""


@dataclass(slots=True)
class Writer:
    """State of one request: the draft model in its own tokens, and its slot, which holds the text in the target's."""

    context: Context
    own: Own
    slot: ForeignSlot


@dataclass(slots=True)
class Draft:
    """One request's draft under way: what the model has written, and what the target's tokenizer makes of it."""

    writer: Writer
    budget: int
    judge: Judge | None
    left: int
    """Tokens that the model may still write."""
    query: list[int]
    """What it reads next."""
    written: bytes = b""
    chances: list[tuple[int, float]] = field(default_factory=list)
    """Where each token that it wrote begins, and how likely it was."""
    tokens: list[int] = field(default_factory=list)
    """``written`` in the target's tokens; the last ones may yet become others."""
    judged: int = 0
    """How many of them are drafted for certain."""
    done: bool = False

    def read(self, token: int, chance: float) -> None:
        """The model writes ``token``, which it thought likely by ``chance``."""
        self.writer.slot.wrote(self.query)
        self.query = [token]
        self.left -= 1
        writes = self.writer.own.writes
        if (word := writes.spell(token)) == b"":
            end = writes.control(token)
            self._judge(len(self.tokens))
            if end is not None and not self.done and self.judged == len(self.tokens):
                self.chances.append((len(self.written), chance))
                self.tokens.append(end)
                self._judge(len(self.tokens))
            self.done = True
            return
        self.chances.append((len(self.written), chance))
        self.written += word
        self.tokens = writes.tokens(self.writer.context.tokens, self.written)
        self._judge(writes.whole(self.tokens))
        if self.left <= 0 and not self.done:
            self._judge(len(self.tokens))
            self.done = True

    def tree(self) -> TokenTree:
        """What is drafted."""
        return TokenTree.of_chain(self.tokens[: self.judged]) if self.judged else EMPTY

    def _judge(self, upto: int) -> None:
        """Ask about the tokens before ``upto`` that are whole now."""
        while self.judged < upto and not self.done:
            token = self.tokens[self.judged]
            go = Go.ON if self.judge is None else self.judge(Node(self.judged, None, self._chance(self.judged)))
            self.judged += go is not Go.STOP
            self.done = go is not Go.ON or self.judged >= self.budget or token in self.writer.context.ends

    def _chance(self, at: int) -> float:
        """The chance of a token of ours: that of all tokens of theirs that begin in it."""
        length = self.writer.own.writes.length
        begin = sum(length(token) for token in self.tokens[:at])
        end = begin + max(1, length(self.tokens[at]))
        return math.prod(chance for place, chance in self.chances if begin <= place < end)


@knobs
class DraftText(Drafter):
    """A model with any tokenizer writes text; the target's tokenizer makes the draft of it.

    Source: Timor et al. (2025), string-level exact match (SLEM); Transformers calls it universal assisted generation.
    The draft model reads the text as its own tokenizer writes it and goes on greedily in its own tokens, so that it may
    use words that the target does not have as tokens, and the other way round. What it wrote is cut into the target's
    tokens, together with the last few that stand; the tokens of a word count once another one has begun. Drafts
    are a function of the text alone, so every verifier is exact with them. Take it where a tiny vocabulary drafts for a
    large one; where the two share most of their words, ``draft-model`` drafts by its distribution, which accepts
    more when sampling and grows trees. All requests write in lock step. With the target's own tokenizer it is a greedy
    ``draft-model``.
    """

    card = Card(
        paper="Accelerating LLM Inference with Lossless Speculative Decoding Algorithms for Heterogeneous Vocabularies",
        catalogue=(117,),
        lossless=True,
    )
    needs = Needs(draft_model=True)

    most: Annotated[int, Field(ge=1)] = 48
    """Tokens of its own that the draft model writes at most in a round."""

    def start(self, context: Context, tools: Tools) -> Writer:
        """Open a slot in the draft model. Raises UnmetNeed if there is no draft model."""
        if tools.draft_model is None:
            raise UnmetNeed("'draft-text' needs a draft model.", "Load the engine with one.")
        mine = own(tools.draft_model)
        return Writer(context, mine, ForeignSlot(mine.reads, mine.model.open(), mine.model.context))

    def propose(
        self, states: Sequence[Writer], budgets: Sequence[int], judges: Sequence[Judge | None]
    ) -> list[TokenTree]:
        """Write all drafts, one pass a token for all of them."""
        asked = zip(states, budgets, judges, strict=True)
        drafts = [self._begun(*each) if each[1] > 0 else None for each in asked]
        live = [draft for draft in drafts if draft is not None]
        while live:
            scores = live[0].writer.own.model.score(
                [chain(draft.query) for draft in live], [draft.writer.slot.inner for draft in live]
            )
            for i, draft in enumerate(live):
                likely, token = scores.of(i)[-1].float().softmax(-1).max(-1)
                draft.read(int(token), float(likely))
            live = [draft for draft in live if not draft.done]
        return [EMPTY if draft is None else draft.tree() for draft in drafts]

    def _begun(self, writer: Writer, budget: int, judge: Judge | None) -> Draft:
        """A draft whose first query is what the model has not read of the text."""
        slot, tokens = writer.slot, writer.context.tokens
        held = slot.tokens
        kept = common_prefix(held, tokens)
        slot.rollback(len(held) - kept)
        slot.append(tokens[kept:])
        behind = slot.behind(self.most + 1)
        if len(behind) > UNREAD_WITH_DRAFT:
            writer.own.model.prefill(slot.inner, behind)
            slot.cached += behind
        return Draft(writer, budget, judge, self.most, slot.unread())

    def finish(self, state: Writer) -> None:
        """Give the slot back."""
        state.slot.close()
