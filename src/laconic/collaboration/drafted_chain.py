"""Speculative chain of thought: the small model writes a whole thought, and the large one takes it or thinks itself."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from laconic.collaboration.base import Collaboration, Looks, Piece, Thought, Turn, Verdict
from laconic.policy import Card, Needs, knobs


@knobs
class DraftedChain(Collaboration):
    """The small model writes a whole thought; if the large one finds it likely enough, it answers from that.

    Source: Efficient Reasoning for LLMs through Speculative Chain-of-Thought (Wang et al. 2025), whose large model was
    trained to choose among several drafted thoughts or to refuse them all. Here nothing is trained: thoughts are
    drafted one after the other, up to ``drafts``, and the first that is likely enough to the large model stands; where
    none is, it thinks for itself.
    """

    card = Card(paper="Speculative Chain-of-Thought", lossless=False, catalogue=(135,))
    needs = Needs(thinking=True)

    drafts: Annotated[int, Field(ge=1)] = 1
    """Thoughts that the small model may write."""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Geometric mean of the probabilities of a thought's tokens, by the large model, at which it stands."""

    def turn(self, state: Any, thought: Thought) -> Turn:
        """The small model, as often as it may."""
        drafted = len(thought.written)
        return Turn("small", whole=True, draw=drafted) if drafted < self.drafts else Turn("large", whole=True)

    def stands(self, state: Any, thought: Thought, piece: Piece, looks: Looks) -> Verdict:
        """By how likely it is."""
        score = looks.likelihood()
        return Verdict(score >= self.threshold, score)
