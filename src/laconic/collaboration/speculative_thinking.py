"""Speculative thinking: the small model thinks, and the large one takes over where it begins to reflect."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from laconic.collaboration.base import Collaboration, Looks, Piece, Thought, Turn, Verdict
from laconic.policy import Card, Needs, knobs

_NEGATIVE = re.compile(
    r"\b(?:wait|hmm+|but|however|alternatively|let me (?:re-?|double[- ])?check|hold on|another way|actually)\b", re.I
)
_POSITIVE = re.compile(r"\b(?:yeah|yes|final answer|confident|that makes sense|so the answer)\b", re.I)


@dataclass(slots=True)
class _Cues:
    negative: int = 0
    """Steps that began to doubt since the large model last took over for that."""


@knobs
class SpeculativeThinking(Collaboration):
    """The large model writes the next ``tokens`` where a step of the small one turns to reflection.

    Source: Speculative Thinking (Yang et al. 2025): at the end of a paragraph whose successor begins with words of
    reflection or affirmation (wait, but, final answer ...) the large model takes over for a while; and for longer, to
    sum up, once doubt has come ``patience`` times. Cues are looked for in the small model's first words of a step,
    which is then taken back: the large model writes in its place.
    """

    card = Card(paper="Speculative Thinking", lossless=False, catalogue=(5,))
    needs = Needs(thinking=True)

    tokens: Annotated[int, Field(ge=1)] = 125
    """Tokens that the large model writes at a cue; the authors use 125 for reflection and affirmation."""
    patience: Annotated[int, Field(ge=1)] = 15
    """Steps of doubt after which it sums up."""
    recap: Annotated[int, Field(ge=1)] = 200
    """Tokens of that."""
    first: Annotated[int, Field(ge=0)] = 100
    """Tokens that the large model begins the thought with."""

    def start(self, thought: Thought) -> _Cues:
        """Nothing seen."""
        return _Cues()

    def turn(self, state: Any, thought: Thought) -> Turn:
        """The large model at the beginning, and where the last step of the small one was taken back for a cue."""
        if not thought.pieces and self.first:
            return Turn("large", self.first)
        last = thought.written[-1] if thought.written else None
        if last is None or not last.refused:
            return Turn("small")
        if state.negative >= self.patience:
            state.negative = 0
            return Turn("large", self.recap)
        return Turn("large", self.tokens)

    def stands(self, state: Any, thought: Thought, piece: Piece, looks: Looks) -> Verdict:
        """A step that begins with a cue does not."""
        head = " ".join(piece.text.split()[:8])
        negative = bool(_NEGATIVE.search(head))
        state.negative += negative
        cue = negative or bool(_POSITIVE.search(head))
        return Verdict(not cue)
