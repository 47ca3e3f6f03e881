"""Add words to the prompt."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.thinking.route.base import Before
from laconic.types import Question


@knobs
class Say(Before):
    """Write ``text`` below the question, or to the system: how a mode asks for brevity or for care.

    A part of modes: DiffAdapt's strategies differ in prompt, temperature and most tokens. In a spec string the text
    must do without commas and brackets.
    """

    card = Card(
        paper="DiffAdapt: Difficulty-Adaptive Reasoning for Token-Efficient LLM Inference",
        lossless=False,
        catalogue=(224,),
    )

    text: Annotated[str, Field(min_length=1)]
    """The words."""
    role: Literal["user", "system"] = "user"
    """Whose message they are added to."""

    def prepare(self, question: Question) -> Question:
        """The question with the words."""
        return question.saying(self.text, self.name, f"said {self.text!r}", role=self.role)
