"""FoReaL: the large model leads each sentence, and the small one ends it."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from laconic.collaboration.base import Collaboration, Thought, Turn
from laconic.policy import Card, Needs, knobs


@knobs
class FoReaL(Collaboration):
    """The large model writes the first ``lead`` tokens of a step, with chance ``gate``; the small one writes the rest.

    Source: What makes Reasoning Models Different? Follow the Reasoning Leader for Efficient Decoding (Li et al. 2025):
    how a reasoning model differs from a weak one shows at the beginning of sentences. The unit here is the step of a
    thought, which ends with a blank line; which steps are led is drawn from the question's seed.
    """

    card = Card(paper="Follow the Reasoning Leader (FoReaL)", lossless=False, catalogue=(153,))
    needs = Needs(thinking=True)

    lead: Annotated[int, Field(ge=1)] = 15
    """Tokens at the beginning of a step."""
    gate: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Chance that a step is led."""

    def turn(self, state: Any, thought: Thought) -> Turn:
        """Lead at the beginning of a step."""
        text = thought.text
        if not text.strip() or text.rstrip(" \t").endswith("\n\n"):
            draw = np.random.default_rng([thought.seed & (2**63 - 1), len(thought.written)])
            if draw.random() < self.gate:
                return Turn("large", self.lead)
        return Turn("small")
