"""Ask the model how hard the question is."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field, field_validator

from laconic.policy import Card, knobs
from laconic.thinking.base import Reader
from laconic.thinking.route.base import Choice, Mode, Router, quick
from laconic.types import Question

_MODES = ("easy", "normal", "hard")


@knobs
class ByWord(Router):
    """The model is asked whether the problem is easy, medium or hard, and the likeliest word chooses the mode.

    Asked in a prompt of its own, without a thought: the words are compared by the probability of their first tokens, so
    one pass over the prompt answers and nothing is written. Self-declared difficulty is a usual baseline of trained
    routers. The event says how much of all probability the three words had; where it is next to nothing, the model has
    not understood, and other words (``words=Easy/Medium/Hard``) may serve it better.
    """

    card = Card(paper="laconic's own", lossless=False)

    easy: Mode = quick()
    """Controllers of the mode for easy questions."""
    normal: Mode = ()
    """Controllers of the mode for those of medium difficulty."""
    hard: Mode = ()
    """Controllers of the mode for hard ones."""
    words: Annotated[tuple[str, ...], Field(min_length=3, max_length=3)] = ("easy", "medium", "hard")
    """The words for the three modes, separated by slashes."""
    text: str = "Do not solve this yet. Is it easy or medium or hard? Reply with one word."
    """What is asked below the question."""

    @field_validator("words", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return tuple(word.strip() for word in value.split("/")) if isinstance(value, str) else value

    def choose(self, question: Question, reader: Reader) -> Choice:
        """Compare the first tokens of the three words."""
        asked = replace(question.saying(self.text, self.name, ""), thinking=False)
        found = reader.chances(asked, self.words)
        best = max(range(3), key=found.__getitem__)
        whole = sum(found)
        share = found[best] / whole if whole else 0.0
        return Choice(_MODES[best], f"{self.words[best]!r} has {share:.0%} of the three words' {whole:.2g}")
