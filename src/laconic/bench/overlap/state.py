"""What is known of one text while others are at work on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

Tail = tuple[int, ...]
"""A hypothesis of how a text goes on: tokens behind what is certain of it, none for the text itself."""
Guesses = Sequence[tuple[int, float]]
"""Tokens that may come next and their probabilities, the likeliest first."""
T = TypeVar("T")


@dataclass(slots=True)
class State:
    """One text under way.

    ``text`` is certain. ``guesses`` are the drafter's of what follows a hypothesis, ``truths`` the target's of what
    does, ``signals`` its early thoughts of what will, from the middle of a pass.
    """

    number: int = 0
    text: list[int] = field(default_factory=list)
    guesses: dict[Tail, Guesses] = field(default_factory=dict)
    truths: dict[Tail, int] = field(default_factory=dict)
    signals: dict[Tail, Sequence[int]] = field(default_factory=dict)
    checked_to: Tail = ()
    """The longest hypothesis that a check was sent for, while it still holds."""
    wasted: int = 0
    """Hypotheses that were drafted behind, and that the text has refuted."""

    @property
    def refused(self) -> bool:
        """Whether nothing is drafted behind the certain text: the last check has refused it, or has outrun it."""
        return () not in self.guesses

    def settle(self) -> int:
        """Write what the target's answers make certain; returns how many tokens."""
        before = len(self.text)
        while () in self.truths:
            self.text.append(self.truths[()])
            new = self.text[-1:]
            self.truths = since(self.truths, new)
            self.signals = since(self.signals, new)
            self.wasted += sum(1 for tail in self.guesses if tail and tail[:1] != tuple(new))
            self.guesses = since(self.guesses, new)
            self.checked_to = self.checked_to[1:] if self.checked_to[:1] == tuple(new) else ()
        return len(self.text) - before

    def chain(self, begin: Tail = ()) -> Iterator[Tail]:
        """The likeliest way on from ``begin``, hypothesis by hypothesis: from itself to the last one drafted."""
        tail = begin
        yield tail
        while self.guesses.get(tail):
            tail += (self.guesses[tail][0][0],)
            yield tail

    def tip(self, begin: Tail = ()) -> Tail:
        """The end of it."""
        *_, last = self.chain(begin)
        return last


def since(known: Mapping[Tail, T], new: Sequence[int]) -> dict[Tail, T]:
    """What is still to come of hypotheses, now that the tokens ``new`` are certain; what they refute is left out."""
    gone, size = tuple(new), len(new)
    return {tail[size:]: value for tail, value in known.items() if len(tail) >= size and tail[:size] == gone}
