"""Hawkeye: the large model thinks, briefly; the small one writes the answer from that."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from laconic.collaboration.base import Collaboration, Side, Thought, Turn
from laconic.policy import Card, Needs, knobs


@knobs
class Hawkeye(Collaboration):
    """The large model's thought, of at most ``tokens``, is what the small one thinks on with, and answers from.

    Source: Hawkeye: Efficient Reasoning with Model Collaboration (She et al. 2025), whose large model was trained to
    think in few words. Models as they are can be told to, by ``tokens`` here or by any thinking control of the large
    model's engine; a thought that is cut off there is ended by the small model.
    """

    card = Card(paper="Hawkeye", lossless=False, catalogue=(249,))
    needs = Needs(thinking=True)

    tokens: Annotated[int, Field(ge=0)] = 0
    """Tokens of the large model's thought at most; 0 for all of it."""

    def turn(self, state: Any, thought: Thought) -> Turn:
        """The large model, then what is left by the small one."""
        if thought.pieces:
            return Turn("small", whole=True)
        return Turn("large", self.tokens, whole=True) if self.tokens else Turn("large", whole=True)

    @property
    def answers(self) -> Side:
        """The small model."""
        return "small"
