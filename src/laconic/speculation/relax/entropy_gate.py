"""A refused token stands where the target itself is undecided."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field

from laconic.policy import Card, knobs
from laconic.speculation.base import Refused, Relaxation


@knobs
class EntropyGate(Relaxation):
    """A refused token stands where the target's entropy, as a share of the largest possible, is above ``threshold``.

    Source: the entropy gate of FLy (Li et al. 2025). Low entropy means that the target knows the token, a digit say,
    and another one is wrong; high entropy that several would do. FLy has a second tier, which is not here: it lets the
    token stand for a while and takes it back if the target disagrees again within a window of tokens after it. A
    relaxation is asked about one token at a time and cannot take back; so this is more permissive than FLy at the same
    threshold. ``floor`` keeps out tokens that the target thinks impossible.
    """

    card = Card(
        paper="Training-Free Loosely Speculative Decoding: Accepting Semantically Correct Drafts Beyond Exact Match",
        lossless=False,
        arxiv="2511.22972",
    )

    threshold: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Entropy above which a mismatch stands, as a share of the logarithm of the vocabulary; 1 lets nothing stand."""
    floor: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Least probability under the target of a token that may stand."""

    def chance(self, refused: Refused) -> float:
        """1 beyond the gate."""
        target = refused.target.double()
        entropy = float(torch.special.entr(target).sum()) / math.log(max(len(target), 2))
        return float(min(entropy, 1.0) > self.threshold and refused.p >= self.floor)
