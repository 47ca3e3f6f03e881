"""The target of a loop whose model runs elsewhere: it has a length, and no cache and no passes of ours."""

from __future__ import annotations

from collections.abc import Sequence

from laconic.models.base import Nowhere, Scores, ScoreTree


class Elsewhere:
    """The target of a loop over a server: it has a length and no passes of ours."""

    passes = 0

    def __init__(self, vocab_size: int, context: int) -> None:
        self.vocab_size = vocab_size
        self.context = context

    def open(self) -> Nowhere:
        """A place without a cache."""
        return Nowhere()

    def prefill(self, slot: object, tokens: Sequence[int]) -> int:
        """The server reads the prompt with the first piece."""
        return 0

    def score(self, trees: Sequence[ScoreTree], slots: Sequence[object]) -> Scores:
        """Never asked."""
        raise NotImplementedError("a model behind a server does not score trees")
