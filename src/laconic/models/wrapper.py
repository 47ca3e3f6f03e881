"""A language model around another one: what it does not change, it passes on, and it can do what the other can."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from laconic.models.base import LanguageModel, Scores, ScoreTree, ShowsHidden, Slot

_ABILITIES = (
    "hidden_size",
    "embedding",
    "embeddings",
    "fingerprint",
    "num_layers",
    "steer",
    "residuals",
    "exact",
    "narrowed",
    "resumes",
    "keep",
    "resume",
    "shows_layers",
    "show",
    "shown",
    "runs_parts",
    "head_cost",
    "runs_halves",
    "partly",
    "through",
    "own_head",
    "forgets",
    "cache_shape",
    "hold",
    "holds",
    "views",
    "look",
    "view",
    "follow",
)
"""What a LanguageModel may have beside its contract (ShowsHidden, Steerable), and whether drafts change no token."""


class Wrapper:
    """Passes everything on to ``model``. Subclasses change what they want.

    The optional protocols are there exactly where ``model`` has them, so that nobody who asks sees a difference.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.vocab_size = model.vocab_size
        self.context = model.context
        for name in _ABILITIES:
            if hasattr(model, name):
                setattr(self, name, getattr(model, name))

    @property
    def passes(self) -> int:
        """Passes of the model, whoever asked for them."""
        return self.model.passes

    @property
    def part_passes(self) -> int:
        """Passes through part of its layers; see RunsParts."""
        return getattr(self.model, "part_passes", 0)

    @property
    def keep_hidden(self) -> bool:
        """Whether scores shall come with hidden states; see ShowsHidden."""
        return cast(ShowsHidden, self.model).keep_hidden

    @keep_hidden.setter
    def keep_hidden(self, keep: bool) -> None:
        cast(ShowsHidden, self.model).keep_hidden = keep

    def around(self, model: LanguageModel) -> LanguageModel:
        """A model that is part of the one in here, as whoever uses it past this wrapper shall see it."""
        return model

    def open(self) -> Slot:
        """A new, empty slot."""
        return self.model.open()

    def prefill(self, slot: Slot, tokens: Sequence[int]) -> int:
        """Commit ``tokens``; returns the number of passes."""
        return self.model.prefill(slot, tokens)

    def score(self, trees: Sequence[ScoreTree], slots: Sequence[Slot]) -> Scores:
        """One pass over all trees."""
        return self.model.score(trees, slots)


def innermost(model: LanguageModel) -> LanguageModel:
    """The model inside all wrappers, for whoever needs its weights."""
    while isinstance(model, Wrapper):
        model = model.model
    return model
