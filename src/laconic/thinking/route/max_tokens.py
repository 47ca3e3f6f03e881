"""Write fewer tokens than was asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.thinking.route.base import Before
from laconic.types import Question


@knobs
class MaxTokens(Before):
    """At most ``tokens`` tokens after the prompt, thought and answer together; never more than was asked for.

    A hard end, as DiffAdapt's strategies have it: a thought that reaches it is cut and leaves no answer. ``budget``
    limits the thought alone and always leaves one.
    """

    card = Card(
        paper="DiffAdapt: Difficulty-Adaptive Reasoning for Token-Efficient LLM Inference",
        lossless=False,
        catalogue=(224,),
    )

    tokens: Annotated[int, Field(gt=0)]
    """Most tokens after the prompt."""

    def prepare(self, question: Question) -> Question:
        """The question with a lower limit."""
        if question.limits.max_new_tokens <= self.tokens:
            return question
        limits = replace(question.limits, max_new_tokens=self.tokens)
        return replace(question, limits=limits).noting(self.name, "prepare", f"at most {self.tokens} tokens")
