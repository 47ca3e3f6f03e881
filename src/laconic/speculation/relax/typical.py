"""A refused token stands if it is typical of the target."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field

from laconic.policy import Card, knobs
from laconic.speculation.base import Refused, Relaxation


@knobs
class Typical(Relaxation):
    """A refused token x stands where ``p(x) > min(epsilon, delta exp(-H(p)))``, H the target's entropy in nats.

    Source: typical acceptance of Medusa (Cai et al. 2024, section 2.3.1), after Hewitt et al. (2022). Where the target
    is unsure, even unlikely tokens are as good as any; where it is sure, only likely ones are.
    """

    card = Card(
        paper="Medusa: Simple LLM Inference Acceleration Framework with Multiple Decoding Heads",
        lossless=False,
        arxiv="2401.10774",
    )

    epsilon: Annotated[float, Field(ge=0, le=1)] = 0.09
    """Probability above which any token stands."""
    delta: Annotated[float, Field(ge=0)] = 0.3
    """The same as a multiple of ``exp(-H)``, which is the typical probability of the target's own tokens."""

    def chance(self, refused: Refused) -> float:
        """1 for typical tokens."""
        entropy = float(torch.special.entr(refused.target).sum())
        return float(refused.p > min(self.epsilon, self.delta * math.exp(-entropy)))
