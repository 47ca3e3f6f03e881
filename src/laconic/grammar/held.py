"""A rule on logits that holds an answer to its grammar."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from laconic.grammar.compiled import vocabulary
from laconic.models.text import Text
from laconic.thinking.base import Place
from laconic.types import Grammar


class Held:
    """Rules out every token with which the answer could not become one of its grammar; a LogitRule.

    It says nothing about a thought. Before a reply has shown what it is, it may begin a thought or the answer. Places
    are asked about in any order: the matcher goes back to what a place has in common with the last one, and on from
    there, so that what it says depends on the place alone.
    """

    def __init__(self, grammar: Grammar, text: Text) -> None:
        """Raises RequestError for a grammar that cannot be used, UnmetNeed for a tokenizer that cannot."""
        self._matcher = vocabulary(text).matcher(grammar)
        self._read: list[int] = []
        self._opening = tuple(text.encode(text.format.opens)) if text.format.thinks else ()
        self.failed = ""
        """Why the grammar could not be kept to; empty as long as it is."""

    def __call__(self, logits: torch.Tensor, place: Place) -> torch.Tensor | None:
        """No probability for tokens that do not lead on; None where the grammar has nothing to say."""
        if place.answer_from < 0 or self.failed:
            return None
        written = place.tokens[place.answer_from :]
        opening = self._opening[len(written) :] if self._opens(place, written) else ()
        if self._come(written):
            banned = self._mask(logits.shape[-1])
        elif opening:
            banned = torch.ones(logits.shape[-1], dtype=torch.bool)
        else:  # below a drafted token that is ruled out itself
            return None
        if opening:
            banned[opening[0]] = False
        return None if self.failed else logits.masked_fill(banned.to(logits.device), -math.inf)

    def forced(self, place: Place, most: int) -> list[int]:
        """The tokens that must come next in a text, as far as there is no choice; at most so many.

        They are the tokenizer's own way to write what must come; the grammar may allow others.
        """
        if place.answer_from < 0 or place.phase == "before" or most <= 0 or self.failed:
            return []
        if not self._come(place.tokens[place.answer_from :]):
            self.failed = "something was written that the grammar does not allow"
            return []
        return list(self._matcher.compute_ff_tokens())[:most]

    def _opens(self, place: Place, written: Sequence[int]) -> bool:
        """Whether the thought's opening tag may still come, or go on."""
        begun = tuple(written) == self._opening[: len(written)] and len(written) < len(self._opening)
        return place.phase == "before" and begun

    def _come(self, written: Sequence[int]) -> bool:
        """Bring the matcher to the end of what is written; says whether the grammar allows all of it."""
        read, size = self._read, len(self._read)
        if list(written[:size]) != read:
            size = next(at for at, (a, b) in enumerate(zip([*written, None], read, strict=False)) if a != b)
            self._matcher.rollback(len(read) - size)
            del read[size:]
        more = list(written[size:])
        taken = self._matcher.try_consume_tokens(more) if more else 0
        read += more[:taken]
        return taken == len(more)

    def _mask(self, width: int) -> torch.Tensor:
        """``[width]``: which tokens do not lead on from where the matcher is. Ids that no token has never do."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():
            self.failed = f"the grammar has become too complex: {self._matcher.get_error()}"
        banned = torch.from_numpy(np.unpackbits(~bits, bitorder="little").view(np.bool_))[:width]
        return torch.nn.functional.pad(banned, (0, width - len(banned)), value=True) if len(banned) < width else banned
