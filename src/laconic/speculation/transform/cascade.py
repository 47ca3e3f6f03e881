"""The draft model's distribution where it is good enough, else the target's."""

from __future__ import annotations

from typing import Literal

import torch

from laconic.policy import Card, Needs, knobs
from laconic.speculation.base import Transform


@knobs
class Cascade(Transform):
    """At each place the output follows the draft model, unless a deferral rule asks for the target.

    Source: Speculative Cascades (Narasimhan et al. 2024), with deferral rules that look at confidences, q of the draft
    and p of the target. ``chow``: defer where ``max q < 1 - alpha``. ``diff``: where ``max q < max p - alpha``. ``opt``
    weighs what a deferral costs, the chance that a draft is refused: where ``max q < max p - alpha TV(p, q)``. A
    larger ``alpha`` trusts the draft more. Greedy requests take the likeliest token of the model that is followed; the
    rules then look at untempered confidences.

    The output has the law of the cascade exactly (under any lossless coupling), not that of the target.
    """

    card = Card(
        paper="Faster Cascades via Speculative Decoding", lossless=False, catalogue=(89,), arxiv="2405.19261"
    )  # fmt: skip
    needs = Needs(draft_distribution=True)

    rule: Literal["chow", "diff", "opt"] = "opt"
    """Deferral rule: when the target is asked."""
    alpha: float = 0.3
    """How much confidence is given up for speed; the scale depends on the rule."""

    def apply(self, target: torch.Tensor, draft: torch.Tensor) -> torch.Tensor:
        """Whole rows of one or the other."""
        sure, wanted = draft.amax(-1, keepdim=True), target.amax(-1, keepdim=True)
        if self.rule == "chow":
            defer = sure < 1 - self.alpha
        elif self.rule == "diff":
            defer = sure < wanted - self.alpha
        else:
            defer = sure < wanted - self.alpha * (target - draft).clamp_min(0).sum(-1, keepdim=True)
        return torch.where(defer, target, draft)
