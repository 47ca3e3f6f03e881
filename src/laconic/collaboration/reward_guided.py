"""Reward-guided speculation: a step of the small model stands where a judge gives it enough."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import pydantic
from pydantic import Field

from laconic.collaboration.base import Collaboration, Looks, Piece, Thought, Turn, Verdict
from laconic.judges.base import Judge
from laconic.policy import Card, Needs, knobs


@knobs
class RewardGuided(Collaboration):
    """The small model writes a step; where a judge gives it less than ``threshold``, the large one writes the step.

    Source: Reward-Guided Speculative Decoding for Efficient LLM Reasoning (Liao et al. 2025), whose best weight of a
    step is a threshold on its reward (0.7 in the paper).
    """

    card = Card(paper="Reward-Guided Speculative Decoding", lossless=False, catalogue=(79,))
    needs = Needs(thinking=True)
    parts: ClassVar = {"judge": "judge"}

    judge: pydantic.InstanceOf[Judge]
    """Who scores a step, e.g. [prm:DIR]."""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Score at which a step stands."""

    def turn(self, state: Any, thought: Thought) -> Turn:
        """The large model behind a refusal."""
        return Turn("large" if thought.written and thought.written[-1].refused else "small")

    def stands(self, state: Any, thought: Thought, piece: Piece, looks: Looks) -> Verdict:
        """By the judge."""
        score = looks.judged(self.judge)
        return Verdict(score >= self.threshold, score)
