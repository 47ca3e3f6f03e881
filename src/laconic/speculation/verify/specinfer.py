"""Siblings drawn independently, refused one after another."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from laconic.policy import Card, knobs
from laconic.speculation.verify.coupling import Independent, Uniform
from laconic.speculation.verify.residual import residual


@knobs
class SpecInfer(Independent):
    """Siblings are independent draws from q; each x is accepted with min(1, p(x) / q(x)), else p <- norm((p - q)+).

    Source: SpecInfer (Miao et al. 2023), multi-step speculative sampling (algorithm 2). Every sibling has the law q,
    whatever the ones before it were, so q is never changed; a token that was refused once is owed nothing and is
    refused again. The first sibling stands as often as alone, 1 - TV(p, q); for several this is neither the best
    that independent drafts allow (``importance``) nor that of siblings that differ (``speculative-sampling``).
    """

    card = Card(
        paper="SpecInfer: Accelerating Large Language Model Serving with Tree-based Speculative Inference",
        lossless=True,
        arxiv="2305.09781",
    )

    def choose(
        self, p: torch.Tensor, q: torch.Tensor, tokens: Sequence[int], uniform: Uniform
    ) -> tuple[int | None, torch.Tensor]:
        """Test the tokens one after another, each against what the ones before it have left."""
        for rank, token in enumerate(tokens):
            if uniform(rank) * float(q[token]) < float(p[token]):
                return rank, p
            p = residual(p, q)
        return None, p
