"""A model with a tokenizer of its own as a model of the target's tokens: it reads the same text, and thinks on.

Source: Timor et al. (2025), "Accelerating LLM Inference with Lossless Speculative Decoding Algorithms for
Heterogeneous Vocabularies", token-level intersection (TLI): what the model thinks of the tokens that both vocabularies
have. The paper leaves its other tokens out; here they count for the first token that the target's tokenizer cuts them
into, since a model that is sure of " = " or of "123" should not be asked what it would write instead. Either way that
is a distribution over the target's tokens like any other, so every drafter, shape and verifier works with it, and what
is exact stays exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor

from laconic.errors import TokenizerMismatch
from laconic.models.base import LanguageModel, Narrows, Scores, ScoreTree, ShowsHidden, Slot
from laconic.models.foreign.back import Back
from laconic.models.foreign.reading import Reader
from laconic.models.foreign.shared import shared
from laconic.models.foreign.slot import ForeignSlot
from laconic.models.foreign.spelling import Spelling

_FEW = 0.25
"""Share of our tokens below which most words cannot be drafted as they are."""
_AT_ONCE = 32
"""Most settled tokens that are scored along with a tree; more are prefilled, without logits."""


class ForeignModel:
    """``model``, whose tokens are ``theirs``, behind the contract of a model with our ``vocab_size`` tokens.

    Slots count our tokens. A node's row is what the model thinks after the text down to that node, read as its own
    tokenizer writes it (see Shared.row); tokens that it cannot say are never likely (-inf). So a chain of our tokens
    may be a tree of theirs: "answ" and "er" are two texts, of which the second is one token. A text may be longer than
    the model's context: then its end is read. Raises TokenizerMismatch where no token is shared.
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
        if isinstance(model, ShowsHidden):
            self.hidden_size, self.fingerprint = model.hidden_size, model.fingerprint
            same = slice(self.shared.same)
            self._foreign = dict(zip(self.shared.ours[same].tolist(), self.shared.theirs[same].tolist(), strict=True))
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
        few = self.shared.same < _FEW * self.vocab_size
        whole = "; the drafter draft-text is not bound to them" if few else ""
        return f"the draft model has another tokenizer: {self.shared} and can be drafted{whole}"

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
        return Scores(self.shared.row(scores.flat[at]), starts, sizes, hidden)

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
            theirs = self.shared.theirs[torch.isin(self.shared.ours, kept)]
            if not len(theirs):
                raise TokenizerMismatch("the draft model can say none of the tokens that are to be kept.", "Keep more.")
            self._last = kept, theirs.sort().values
        return self._last[1]

    def _narrowly(self) -> AbstractContextManager[None]:
        """What the head of the model behind is asked about in the next pass."""
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

    def _embedding(self, token: int) -> Tensor:
        """The input embedding of what is ``token`` of ours, or else of its first token."""
        return cast(ShowsHidden, self.model).embedding(self._foreign.get(token, 0))
