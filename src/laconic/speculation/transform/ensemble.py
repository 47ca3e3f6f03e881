"""A mixture of target and draft model."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from laconic.policy import Card, Needs, knobs
from laconic.speculation.base import Transform


@knobs
class Ensemble(Transform):
    """The output is drawn from ``weight p + (1 - weight) q``, p the target's and q the draft model's distribution.

    Source: Speculative Ensemble (Fu et al. 2025), weighted ensembles of two models. A draft stands at least as
    often as against the target alone, since the mixture is nearer to q. The paper also lets the models take turns as
    proposer, because the verifier's row after the last token that stood would otherwise be a draw from one model alone.
    Here the token at which a draft ends is never drawn from a row that only the target has: a walk that comes to a
    place where the drafter did not look ends with the token before it, and the next round, whose draft begins with a
    look at that place, decides it by the mixture. So the roles stay as they are, at one token a fully accepted draft.
    """

    card = Card(
        paper="Speculative Ensemble: Fast Large Language Model Ensemble via Speculation",
        lossless=False,
        catalogue=(137,),
        arxiv="2502.01662",
    )
    needs = Needs(draft_distribution=True)

    weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the target; 1 is the target alone."""

    def apply(self, target: torch.Tensor, draft: torch.Tensor) -> torch.Tensor:
        """The mixture, row by row."""
        return self.weight * target + (1 - self.weight) * draft
