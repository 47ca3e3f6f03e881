"""Which of some texts are most like a question, by the words they share."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

_TERM = re.compile(r"[^\W\d_]+|[-+*/=^%<>]")
"""Words, and the signs of arithmetic, which say what a problem is about; numbers do not."""
_EVERYWHERE = (
    "a an and are as at be by do each for from has have how if in is it its many of on one or out that the their then "
    "there these this to was what when where which will with you your"
)
"""Words that any text may hold: in a handbook of a few entries, how rare a word is cannot tell them from others."""
_SKIPPED = frozenset(_EVERYWHERE.split())
_SATURATION, _LENGTHS = 1.5, 0.75
"""BM25's usual constants: how soon a word that comes again stops counting, and how much long texts are held back."""


def terms(text: str) -> list[str]:
    """Words that tell something, in lower case and without a plural s, and signs.

    >>> terms("Sums: 12 + 7?")
    ['sum', '+']
    """
    found = (term.casefold() for term in _TERM.findall(text))
    plain = (term[:-1] if len(term) > 3 and term.endswith("s") and not term.endswith("ss") else term for term in found)
    return [term for term in plain if term not in _SKIPPED]


class Ranking:
    """Okapi BM25 over a few texts (Robertson and Zaragoza 2009), with the logarithm that is never negative."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._counts = [Counter(terms(text)) for text in texts]
        lengths = [sum(counts.values()) for counts in self._counts]
        mean = sum(lengths) / len(lengths) if any(lengths) else 1.0
        self._damping = [_SATURATION * (1 - _LENGTHS + _LENGTHS * length / mean) for length in lengths]
        self._holding = Counter(term for counts in self._counts for term in counts)

    def scores(self, query: str) -> list[float]:
        """How alike each text is to the query; 0 where they share no word."""
        asked = set(terms(query))
        return [
            sum(
                self._weight(term) * counts[term] * (_SATURATION + 1) / (counts[term] + damping)
                for term in sorted(asked)
            )
            for counts, damping in zip(self._counts, self._damping, strict=True)
        ]

    def _weight(self, term: str) -> float:
        """How telling a word is: rare ones are."""
        holding = self._holding[term]
        return math.log(1 + (len(self._counts) - holding + 0.5) / (holding + 0.5)) if holding else 0.0
