"""How much of a thought was there before: runs of tokens that come again, steps that are nearly the same, loops."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Sequence

_WORD = re.compile(r"\w+|[^\w\s]")
_STUCK = 3
"""Times that one step must occur in a thought to be called a loop."""
_SHORT = 20
"""Characters below which a repeated step is mere punctuation of the thought."""
_SHINGLE = 3
"""Words whose order counts when steps are compared."""


def words(text: str) -> list[str]:
    """Words and signs in lower case, for where no tokens are known."""
    return [found.casefold() for found in _WORD.findall(text)]


def repeated(tokens: Sequence[Hashable], n: int) -> int:
    """Tokens at the end of an n-gram that came before."""
    seen: set[tuple[Hashable, ...]] = set()
    again = 0
    for end in range(n, len(tokens) + 1):
        gram = tuple(tokens[end - n : end])
        again += gram in seen
        seen.add(gram)
    return again


def repeated_share(tokens: Sequence[Hashable], n: int = 8) -> float:
    """The share of all n-grams that came before; 0 for a text shorter than one."""
    grams = len(tokens) - n + 1
    return repeated(tokens, n) / grams if grams > 0 else 0.0


def near_duplicates(steps: Sequence[str], alike: float = 0.8) -> float:
    """The share of steps that are nearly an earlier one: by the Jaccard index of their runs of three words.

    Numbers count as words, so that the same procedure on other numbers is no repetition. Fewer words are one run.
    """
    seen: list[frozenset[tuple[str, ...]]] = []
    again = 0
    for step in steps:
        found = words(step)
        runs = frozenset(tuple(found[i : i + _SHINGLE]) for i in range(max(1, len(found) - _SHINGLE + 1)))
        again += any(len(runs & earlier) >= alike * len(runs | earlier) for earlier in seen)
        seen.append(runs)
    return again / len(steps) if steps else 0.0


def loops(steps: Sequence[str]) -> int:
    """Steps of more than a few characters that occur three times or more, counted once each."""
    keys = Counter(key for step in steps if len(key := " ".join(step.split()).casefold()) >= _SHORT)
    return sum(count >= _STUCK for count in keys.values())
