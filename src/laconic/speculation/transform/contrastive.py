"""What the target likes more than the draft model does."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from laconic.policy import Card, Needs, knobs
from laconic.speculation.base import Transform

_LEAST = 1e-6
"""Draft probabilities below this count as this: a ratio to next to nothing says nothing."""


@knobs
class Contrastive(Transform):
    """The output is drawn in proportion to ``p^(1 + beta) / q^beta`` among the tokens that are plausible to the target.

    Source: contrastive decoding (Li et al. 2022) in the form of O'Brien and Lewis (2023), with the draft model as the
    amateur; Speculative Ensemble runs it as a speculative verifier. Plausible are tokens with
    ``p >= alpha max p``. Draft and output pull apart here, so fewer drafts stand than against the target alone.
    """

    card = Card(
        paper="Contrastive Decoding: Open-ended Text Generation as Optimization; Speculative Ensemble",
        lossless=False,
        catalogue=(137,),
        arxiv="2210.15097",
    )
    needs = Needs(draft_distribution=True)

    beta: Annotated[float, Field(ge=0)] = 0.5
    """Strength of the contrast; 0 leaves the target as it is, but for implausible tokens."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Tokens less than this times as likely as the target's likeliest are left out."""

    def apply(self, target: torch.Tensor, draft: torch.Tensor) -> torch.Tensor:
        """Row by row, normalised."""
        best = target.amax(-1, keepdim=True)
        score = (1 + self.beta) * target.log() - self.beta * draft.clamp_min(_LEAST).log()
        return score.masked_fill((target <= 0) | (target < self.alpha * best), -torch.inf).softmax(-1)
