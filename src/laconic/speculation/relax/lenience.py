"""Every draft is tested as if it had been proposed less often."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.speculation.base import Refused, Relaxation


@knobs
class Lenience(Relaxation):
    """A draft x stands with ``min(1, p(x) / (leniency q(x)))`` altogether.

    Source: the lenience of Leviathan et al. (2023, appendix A.5). A refused token stands with what that is above the
    exact test's ``min(1, p / q)``; so the total is exact for one sampled draft at a node. A draft that was not drawn
    counts as proposed with certainty, q(x) = 1, which the exact verifier accepts with p(x). Greedy requests accept or
    refuse by the target's likeliest token, so there the total is larger.
    """

    card = Card(paper="Fast Inference from Transformers via Speculative Decoding", lossless=False, arxiv="2211.17192")

    leniency: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Factor on the draft's probability; 1 is the exact test."""

    def chance(self, refused: Refused) -> float:
        """What the lenient test adds, given that the exact one failed."""
        ratio = refused.p / refused.q
        exact, lenient = min(1.0, ratio), min(1.0, ratio / self.leniency)
        return (lenient - exact) / (1 - exact) if exact < 1 else 0.0
