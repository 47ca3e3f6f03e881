"""Ask for a draft of every step instead of a text."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.thinking.hint.wording import Wording


@knobs
class ChainOfDraft(Wording):
    """Ask for thought in notes: a few words a step.

    Chain of Draft, as one sentence below the question, in laconic's words. The paper allows five words a step and
    also shows examples of such notes, which are yours to add. A request, not a bound: models trained to reason at
    length follow it loosely.
    """

    card = Card(paper="Chain of Draft: Thinking Faster by Writing Less", arxiv="2502.18600", lossless=False)

    words: Annotated[int, Field(ge=1)] = 5
    """Words a step."""

    def sentence(self) -> str:
        """The sentence."""
        return f"Think step by step, but keep of each step only a short draft of at most {self.words} words."
