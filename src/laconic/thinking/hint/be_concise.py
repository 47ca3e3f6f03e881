"""Ask the model to be brief."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.thinking.hint.wording import Wording


@knobs
class BeConcise(Wording):
    """One sentence below the question that asks for brevity: the baseline of every other hint.

    Concise chain of thought (CCoT), which found shorter texts and mostly unchanged accuracy on strong models, and a
    loss in mathematics on a weaker one.
    """

    card = Card(
        paper="The Benefits of a Concise Chain of Thought on Problem-Solving in Large Language Models (CCoT)",
        arxiv="2401.05618",
        lossless=False,
    )

    text: Annotated[str, Field(min_length=1)] = "Think step by step, and be concise."
    """The sentence."""

    def sentence(self) -> str:
        """The sentence."""
        return self.text
