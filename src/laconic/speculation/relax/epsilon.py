"""A refused token stands if the target thinks it likely enough."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.speculation.base import Refused, Relaxation


@knobs
class Epsilon(Relaxation):
    """A refused token stands if ``p(x) > epsilon``.

    Source: the plain threshold, in speculation since Spec-Verification (Xia et al. 2023), which also asks for a rank
    (``top-k``). Medusa's ``typical`` makes the threshold depend on the target's entropy.
    """

    card = Card(
        paper="Speculative Decoding: Exploiting Speculative Execution for Accelerating Seq2seq Generation",
        lossless=False,
        arxiv="2203.16487",
    )

    epsilon: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Probability above which any token stands; 1 lets nothing stand that was refused."""

    def chance(self, refused: Refused) -> float:
        """1 above the threshold."""
        return float(refused.p > self.epsilon)
