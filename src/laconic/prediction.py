"""A text that somebody expects, as a source of drafts: an answer, or all that was once written to the prompt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from laconic.models.prefix import common_prefix

_LONGEST = 16
"""Tokens of the answer's end at most by which its place in the prediction is found."""

_FIRST = 8
"""Tokens of a former output that are drafted at first."""
_SAME = 4
"""Tokens that must agree where an output has left the former one, to draft from there: fewer the drafter finds too."""
_TRUST = 2
"""Tokens that are drafted at most for each one of a match, and one more: a word alone stands in many places."""


class Prediction:
    """Follows an answer along the text that was predicted for it; ``least`` tokens of a match are enough.

    The answer's end is looked for in the prediction, longer matches first, and what stands there behind it is the
    draft; of equal matches the next one behind the last is taken, so that a passage that comes again is not copied from
    its first place. Before the answer has a first word, the prediction's beginning is the draft. Source: the OpenAI API
    (predicted outputs); the matching is that of prompt lookup decoding.
    """

    def __init__(self, tokens: Sequence[int], least: int = 1) -> None:
        self._tokens = tuple(tokens)
        self._least = least
        self._numbers = np.asarray(self._tokens, dtype=np.int64)
        self._at = 0

    def draft(self, answer: Sequence[int], most: int) -> tuple[int, ...]:
        """At most ``most`` tokens that may follow the answer so far; none where its place is not found."""
        if not answer:
            return self._tokens[:most]
        ends, size = self._places(answer)
        if not len(ends) or size < self._least:
            return ()
        next_one = int(np.searchsorted(ends, self._at))
        self._at = int(ends[min(next_one, len(ends) - 1)])
        return self._tokens[self._at : self._at + min(most, _TRUST * (size + 1))]

    def _places(self, answer: Sequence[int]) -> tuple[np.ndarray, int]:
        """Where the longest end of the answer that stands in the prediction ends there, in order, and its length."""
        ends = np.flatnonzero(self._numbers == answer[-1]) + 1
        size = 1
        while size < min(_LONGEST, len(answer)):
            longer = ends[ends > size]
            longer = longer[self._numbers[longer - size - 1] == answer[-size - 1]]
            if not len(longer):
                break
            ends, size = longer, size + 1
        return ends, size


class Prior:
    """Follows an output along the former one: in step as long as both agree, then wherever a passage comes again.

    In step, as many tokens are drafted as have lately stood, and up to twice as many.
    """

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = list(tokens)
        self._passages = Prediction(tokens, _SAME)
        self._size = _FIRST

    def draft(self, output: Sequence[int], most: int) -> tuple[int, ...]:
        """At most ``most`` tokens that may follow the output so far, of which a part may have been taken back since."""
        written = len(output)
        if common_prefix(list(output), self._tokens) < written:
            return self._passages.draft(output, most)
        return tuple(self._tokens[written : written + min(most, self._size)])

    def heard(self, drafted: int, accepted: int) -> None:
        """How many of the tokens that were drafted last have stood."""
        self._size = 2 * drafted if accepted == drafted else accepted + 1
