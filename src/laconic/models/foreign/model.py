"""A model with a tokenizer of its own as a model of the target's tokens: it reads the same text, and thinks on.

Source: Timor et al. (2025), "Accelerating LLM Inference with Lossless Speculative Decoding Algorithms for
Heterogeneous Vocabularies", token-level intersection (TLI). What the model thinks is restricted to the tokens that both
vocabularies have. Since that is a distribution over the target's tokens like any other, every drafter, shape and
verifier works with it, and what is exact stays exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, cast

import torch
from torch import Tensor

from laconic.errors import UnsupportedModel
from laconic.models.base import LanguageModel, Narrows, Scores, ScoreTree, ShowsHidden, Slot
from laconic.models.foreign.back import Back
from laconic.models.foreign.reading import Reader
from laconic.models.foreign.shared import shared
from laconic.models.foreign.slot import ForeignSlot
from laconic.models.foreign.spelling import Spelling

_WORTH = 0.8
"""Share of the model's tokens below which its output head is asked about those alone."""
_AT_ONCE = 32
"""Most settled tokens that are scored along with a tree; more are prefilled, without logits."""


class ForeignModel:
    """``model``, whose tokens are ``theirs``, behind the contract of a model with our ``vocab_size`` tokens.

    Slots count our tokens. A node's row is what the model thinks after the text down to that node, read as its own
    tokenizer writes it; tokens that it does not have are never likely (-inf). So a chain of our tokens may be a tree of
    theirs: "answ" and "er" are two texts, of which the second is one token. A text may be longer than the model's
    context: then its end is read. Raises TokenizerMismatch where no token is shared.
    """

    context = 1 << 30
    """No limit: of a long text the end is read."""

    def __init__(self, model: LanguageModel, ours: Spelling, theirs: Spelling, vocab_size: int) -> None:
        self.model = model
        self.vocab_size = vocab_size
        self.shared = shared(ours, theirs, (vocab_size, model.vocab_size))
        self.reader, self.back = Reader(ours, theirs), Back(ours, theirs)
        self.config = getattr(model, "config", None)
        self._last: tuple[Tensor, Tensor] | None = None
        self._kept: Tensor | None = None
        """The model's tokens that are asked about; None for all."""
        if isinstance(model, Narrows):
            self.narrowed = self._narrowed
            if len(self.shared.theirs) < _WORTH * model.vocab_size:
                self._keep(model, self.shared.theirs)
        if isinstance(model, ShowsHidden):
            self.hidden_size, self.fingerprint = model.hidden_size, model.fingerprint
            self._foreign = dict(zip(self.shared.ours.tolist(), self.shared.theirs.tolist(), strict=True))
            self.embedding = self._embedding

    @property
    def passes(self) -> int:
        """Passes of the model behind."""
        return self.model.passes

    @property
    def keep_hidden(self) -> bool:
        """Whether scores shall come with hidden states; see ShowsHidden."""
        return cast(ShowsHidden, self.model).keep_hidden

    @keep_hidden.setter
    def keep_hidden(self, keep: bool) -> None:
        cast(ShowsHidden, self.model).keep_hidden = keep

    def describe(self) -> dict[str, Any]:
        """As the model behind, and what it has in common with the target."""
        told = self.model.describe() if hasattr(self.model, "describe") else {}
        return {**told, "vocabulary": self.note}

    @property
    def note(self) -> str:
        """A sentence for whoever runs it."""
        return f"the draft model has another tokenizer: {self.shared} and can be drafted"

    def open(self) -> ForeignSlot:
        """A new, empty slot."""
        return ForeignSlot(self.reader, self.model.open(), self.model.context)

    def prefill(self, slot: Slot, tokens: Sequence[int]) -> int:
        """Commit ``tokens``; the end of the text, which may yet be read otherwise, is left to the next pass."""
        assert isinstance(slot, ForeignSlot)
        slot.append(tokens)
        return self.catch_up(slot, 1, 0)

    def score(self, trees: Sequence[ScoreTree], slots: Sequence[Slot]) -> Scores:
        """One pass over all trees; see models.base.LanguageModel."""
        plans = []
        for tree, slot in zip(trees, slots, strict=True):
            assert isinstance(slot, ForeignSlot)
            self.catch_up(slot, 4 * len(tree), _AT_ONCE)
            plans.append(slot.plan(tree))
        with self._narrowly():
            scores = self.model.score([plan.tree for plan in plans], [cast(ForeignSlot, slot).inner for slot in slots])
        at = torch.tensor([scores.starts[i] + way[-1] for i, plan in enumerate(plans) for way in plan.ways])
        sizes = [len(tree) for tree in trees]
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        hidden = None if scores.hidden is None else scores.hidden[at]
        return Scores(self._widened(scores.flat[at]), starts, sizes, hidden)

    def _keep(self, model: Narrows, theirs: Tensor) -> None:
        """Ask about some tokens alone from now on, if that can be done with this model."""
        with suppress(UnsupportedModel), model.narrowed(theirs):
            self._kept = theirs

    @contextmanager
    def _narrowed(self, kept: Tensor) -> Iterator[None]:
        """Ask the model about what stands for the tokens ``kept`` of ours alone; see models.base.Narrows."""
        before, self._kept = self._kept, self._theirs(kept)
        try:
            yield
        finally:
            self._kept = before

    def _theirs(self, kept: Tensor) -> Tensor:
        """What stands for tokens of ours, in the model's own; the same tensor for the same one."""
        if self._last is None or self._last[0] is not kept:
            self._last = kept, self.shared.theirs[torch.isin(self.shared.ours, kept)]
        return self._last[1]

    def _narrowly(self) -> AbstractContextManager[None]:
        """Only what can be drafted is asked about, where that is much less than all."""
        if self._kept is not None and isinstance(self.model, Narrows):
            return self.model.narrowed(self._kept)
        return nullcontext()

    def catch_up(self, slot: ForeignSlot, room: int, most: int) -> int:
        """Prefill what is settled and not cached, if it is more than ``most`` tokens; returns the number of passes."""
        behind = slot.behind(room)
        if len(behind) <= most:
            return 0
        slot.cached += behind
        return self.model.prefill(slot.inner, behind)

    def _widened(self, theirs: Tensor) -> Tensor:
        """Rows over our tokens ``[nodes, vocab]`` from rows over theirs."""
        wide = theirs.new_full((len(theirs), self.vocab_size), -torch.inf)
        wide[:, self.shared.ours] = theirs[:, self.shared.theirs]
        return wide

    def _embedding(self, token: int) -> Tensor:
        """The input embedding of what is ``token`` of ours, or else of its first token."""
        return cast(ShowsHidden, self.model).embedding(self._foreign.get(token, 0))
