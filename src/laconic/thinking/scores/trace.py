"""A thought that was written: its text, its steps, and what is known of its tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from laconic.errors import RequestError

STEP = "\n\n"
"""What parts the steps of a thought."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A thought as text, and its tokens where they are known.

    ``tokens``, ``logprobs`` (natural, of the tokens that were written) and ``entropies`` (nats, of the distributions
    that they were drawn from) have one entry a token, or none at all. ``starts`` are the indices of the tokens that
    begin the steps. Raises RequestError for lengths that differ and for values that no such quantity has.
    """

    text: str
    steps: tuple[str, ...]
    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    entropies: tuple[float, ...] = ()
    starts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        lengths = {len(part) for part in (self.tokens, self.logprobs, self.entropies) if part}
        if len(lengths) > 1:
            raise RequestError(f"tokens, logprobs and entropies have different lengths: {sorted(lengths)}.")
        if any(not value <= 0 for value in self.logprobs):
            raise RequestError("a log-probability is above 0 or NaN.", "Give natural logarithms of probabilities.")
        if any(not 0 <= value < math.inf for value in self.entropies):
            raise RequestError("an entropy is negative, infinite or NaN.")
        if list(self.starts) != sorted(set(self.starts)) or any(not 0 <= s < self.length for s in self.starts):
            raise RequestError("starts of steps must rise and lie within the tokens.")

    @staticmethod
    def of(text: str) -> Trace:
        """A trace of which only the text is known."""
        return Trace(text, tuple(steps(text)))

    @property
    def length(self) -> int:
        """How many tokens are known."""
        return max(len(self.tokens), len(self.logprobs), len(self.entropies))


def steps(text: str) -> list[str]:
    """The paragraphs of a thought."""
    return [step.strip() for step in text.split(STEP) if step.strip()]


def starts(pieces: Sequence[str]) -> list[int]:
    """Indices of the tokens that hold the first visible character of a step, from the text of each token.

    >>> starts(["A", " b", ".\n\n", "C", "\n", "\n", "D.\n\nE"])
    [0, 3, 6]
    """
    found: list[int] = []
    begun, breaks = False, 0
    for at, piece in enumerate(pieces):
        for char in piece:
            breaks = breaks + 1 if char == "\n" else 0
            if breaks >= len(STEP):
                begun = False
            elif not begun and not char.isspace():
                begun = True
                if found[-1:] != [at]:
                    found.append(at)
    return found
