"""Shared by drafters that write with a language model: they may ask its output head about some tokens only."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any, cast

from torch import Tensor

from laconic.errors import UnmetNeed
from laconic.models.base import Narrows
from laconic.speculation.vocabulary import Kept


class Some:
    """The tokens of ``file`` (``laconic fit vocab``), or all of them where it has no name; for the drafter ``name``."""

    def __init__(self, file: str, name: str) -> None:
        self._file, self._name = file, name
        self._known: dict[int, Tensor] = {}

    @cached_property
    def tokens(self) -> Tensor:
        """``[kept]``, the tokens that may be drafted."""
        return Kept.load(self._file).tokens

    def suits(self, target: Any, drafting: Any) -> None:
        """Raise HeadError for a choice of tokens of another vocabulary than ``target``'s, UnmetNeed where the head of
        the model ``drafting`` is whole.
        """
        if not self._file:
            return
        Kept.load(self._file).check(target.vocab_size)
        if not isinstance(drafting, Narrows):
            raise UnmetNeed(
                f"'{self._name}' cannot keep some tokens only of this draft model.",
                "Use it with a model that laconic runs itself (CausalLM).",
            )

    def only(self, model: Any) -> AbstractContextManager[None]:
        """Within, the output head is asked about the tokens that may be drafted."""
        if not self._file:
            return nullcontext()
        words = model.vocab_size
        if words not in self._known:
            self._known[words] = self.tokens[self.tokens < words]
        return cast(Narrows, model).narrowed(self._known[words])
