"""SpecReason: the small model proposes a step, and the large one says by one digit whether it stands."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from laconic.collaboration.base import Collaboration, Looks, Piece, Thought, Turn, Verdict
from laconic.policy import Card, Needs, knobs

_ASK = "\n\nIs this last step right and of use? A digit from 0 (no) to 9 (yes): "


@knobs
class SpecReason(Collaboration):
    """The small model writes a step; where the large one finds it too bad, it writes the step itself.

    Source: SpecReason (Pan et al. 2025; threshold 7 of 9, and ``first`` steps by the base model, as in the authors'
    code). The large model reads the step with one question behind it, in one pass, and its likeliest digit is the
    score; nothing is written, and what it has read of a step that stands it need not read again. The authors put the
    question in a prompt of its own; here it is asked inside the thought, on the cache that is there. ``by=likelihood``
    scores by how likely the step was to the large model itself, for models that were never taught to rate.
    """

    card = Card(paper="SpecReason", lossless=False, catalogue=(35,))
    needs = Needs(thinking=True)

    threshold: Annotated[float, Field(ge=0, le=9)] = 7.0
    """Digit at which a step stands; with ``by=likelihood``, 9 times the geometric mean of its tokens' probabilities."""
    first: Annotated[int, Field(ge=0)] = 0
    """Steps that the large model writes before the small one begins."""
    by: Literal["digit", "likelihood"] = "digit"
    """What the score is."""

    def turn(self, state: Any, thought: Thought) -> Turn:
        """The large model for the first steps, and behind a refusal."""
        refused = bool(thought.written) and thought.written[-1].refused
        return Turn("large" if refused or len(thought.pieces) < self.first else "small")

    def stands(self, state: Any, thought: Thought, piece: Piece, looks: Looks) -> Verdict:
        """By the score."""
        if self.by == "likelihood":
            score = 9 * looks.likelihood()
        else:
            chances = looks.digits(_ASK)
            score = float(max(range(10), key=chances.__getitem__))
        return Verdict(score >= self.threshold, score)
