"""A fixed draft length."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.speculation.base import Context, LengthPolicy
from laconic.speculation.pace import Pace


@knobs
class Constant(LengthPolicy):
    """Draft the same number of tokens every round: the gamma of Leviathan et al. (2023), and the baseline."""

    card = Card(paper="Fast Inference from Transformers via Speculative Decoding", lossless=True, arxiv="2211.17192")

    tokens: Annotated[int, Field(ge=1)] = 5
    """Tokens drafted per round (nodes, for a tree)."""

    def start(self, context: Context, pace: Pace) -> None:
        """Nothing to remember."""

    def budget(self, state: None) -> int:
        """Always ``tokens``."""
        return self.tokens
