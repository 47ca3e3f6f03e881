"""Finding repetition: tokens that go round in a circle, and steps or sentences that come again and again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

SHORT = 20
"""Characters below which a repeated sentence is mere punctuation of the thought."""


def circle(tokens: Sequence[int], *, period: int, copies: int, least: int) -> int | None:
    """The shortest period in which ``tokens`` end, of at most ``period`` tokens; None if they end in none.

    The last ``copies`` copies must be equal token by token, and at least ``least`` tokens long together; the run may
    begin inside a copy. Linear in the tokens looked at, which are the last ``max(copies * period, least)``.

    >>> circle([9, 1, 2, 3, 1, 2, 3, 1, 2, 3], period=4, copies=3, least=9)
    3
    """
    back = tokens[-max(copies * period, least) :][::-1]
    held = _prefixes(back)
    for each in range(1, min(period, len(back) - 1) + 1):
        if held[each] + each >= max(copies * each, least):
            return each
    return None


def _prefixes(text: Sequence[int]) -> list[int]:
    """For each place of ``text``, how many tokens from there on are those that it begins with (its Z function)."""
    n = len(text)
    held = [n] + [0] * (n - 1) if n else []
    left = right = 0
    for at in range(1, n):
        same = min(right - at, held[at - left]) if at < right else 0
        while at + same < n and text[same] == text[at + same]:
            same += 1
        held[at] = same
        if at + same > right:
            left, right = at, at + same
    return held


@dataclass(slots=True)
class Tally:
    """How often each piece of text has come, case and spaces aside; short ones do not count."""

    seen: Counter[str] = field(default_factory=Counter)

    def add(self, pieces: Iterable[str]) -> int:
        """Count ``pieces``; how often the one of them that is met most has come by now, 0 where none counts."""
        keys = [key for piece in pieces if len(key := " ".join(piece.split()).casefold()) >= SHORT]
        self.seen.update(keys)
        return max((self.seen[key] for key in keys), default=0)
