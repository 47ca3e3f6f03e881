"""Prompts that begin alike are read once: work on texts is kept for a while, by owner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from laconic.models.base import Kept, LanguageModel, Resumes, Slot

_WORTH = 32
"""Tokens in common below which reading them again costs less than a copy."""


@dataclass(eq=False, slots=True)
class _Text:
    owner: str
    tokens: np.ndarray
    kept: Kept


class Prefixes:
    """Keys and values of finished requests, the oldest use given up first once they take more than ``most`` bytes.

    An owner is resumed from nobody's texts but its own, so that the time of a first token tells nobody what others have
    asked. Models whose work cannot be resumed keep nothing (``Resumes.resumes``).
    """

    def __init__(self, model: LanguageModel, most: int) -> None:
        self._model = model if isinstance(model, Resumes) and model.resumes and most > 0 else None
        self._most = most
        self._texts: list[_Text] = []
        """The latest use last."""

    @property
    def possible(self) -> bool:
        """Whether anything is ever kept."""
        return self._model is not None

    @property
    def nbytes(self) -> int:
        """Bytes that are kept."""
        return sum(text.kept.nbytes for text in self._texts)

    def resume(self, owner: str, prompt: Sequence[int]) -> Slot | None:
        """A slot that holds the longest known beginning of a prompt, without its last token; None for none of use."""
        if self._model is None or len(prompt) <= _WORTH:
            return None
        wanted = np.asarray(prompt[:-1], dtype=np.int64)
        best, length = None, _WORTH - 1
        for text in self._texts:
            common = _common(text.tokens, wanted) if text.owner == owner else 0
            if common > length:
                best, length = text, common
        if best is None:
            return None
        self._texts.remove(best)
        self._texts.append(best)
        return self._model.resume(best.kept, length)

    def keep(self, owner: str, tokens: Sequence[int], slot: Slot) -> None:
        """Keep what a slot holds of a text, in place of its own beginnings."""
        if self._model is None or slot.length <= _WORTH or slot.nbytes > self._most:
            return
        if getattr(slot, "past", None) is not None:  # what a kv policy has left of it is no beginning of another text
            return
        mine = np.asarray(tokens[: slot.length], dtype=np.int64)
        others = [text for text in self._texts if text.owner == owner]
        if any(_common(text.tokens, mine) == len(mine) for text in others):
            return
        covered = [text for text in others if _common(text.tokens, mine) == len(text.tokens)]
        self._texts = [text for text in self._texts if text not in covered]
        self._texts.append(_Text(owner, mine, self._model.keep(slot)))
        while self.nbytes > self._most:
            del self._texts[0]

    def forget(self) -> None:
        """Let go of everything."""
        self._texts.clear()


def _common(one: np.ndarray, other: np.ndarray) -> int:
    """Tokens with which both begin."""
    size = min(len(one), len(other))
    differs = np.flatnonzero(one[:size] != other[:size])
    return int(differs[0]) if len(differs) else size
