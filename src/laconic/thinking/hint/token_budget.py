"""Tell the model how many tokens it may use."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.thinking.hint.wording import Wording


@knobs
class TokenBudget(Wording):
    """Ask for an answer within so many tokens. A request, not a bound; ``budget`` is one.

    The prompt of TALE-EP, in laconic's words. The paper has the model estimate the budget of each question in a call of
    its own; here one number serves all. It warns of numbers that are much too small: models then write
    more than with a fair one.
    """

    card = Card(paper="Token-Budget-Aware LLM Reasoning (TALE-EP)", arxiv="2412.18547", lossless=False)

    tokens: Annotated[int, Field(ge=1)] = 200
    """The number that the model is told."""

    def sentence(self) -> str:
        """The sentence."""
        return f"Think step by step, and use fewer than {self.tokens} tokens for it."
