"""Send short questions to the easy mode."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.thinking.base import Reader
from laconic.thinking.route.base import Choice, Mode, Router, quick
from laconic.types import Question


@knobs
class ByLength(Router):
    """Short questions take the easy mode, long ones the hard mode.

    The cheapest guess at difficulty there is, and the baseline of those that look further. Only the last message of the
    user counts.
    """

    card = Card(paper="laconic's own", lossless=False)

    characters: Annotated[int, Field(ge=1)] = 200
    """Least length of a question that takes the hard mode."""
    easy: Mode = quick()
    """Controllers of the mode for shorter questions."""
    hard: Mode = ()
    """Controllers of the mode for the others."""

    def choose(self, question: Question, reader: Reader) -> Choice:
        """Count characters."""
        length = len(question.asked())
        return Choice("hard" if length >= self.characters else "easy", f"the question has {length} characters")
