"""Choose the best of several independent draws, then accept or refuse that one."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from laconic.policy import Card, knobs
from laconic.speculation.verify.coupling import Independent, Uniform
from laconic.speculation.verify.residual import residual
from laconic.speculation.verify.selection import best_selection


@knobs
class Importance(Independent):
    """Of K independent draws from q one is chosen by importance, and accepted with min(1, p(x) / r(x)), r its law.

    Source: Khisti et al. (2024), who show that the best coupling of several drafts is such a choice followed by
    ordinary speculative sampling. They give the best acceptance in closed form for two drafts and solve truncated
    linear programs for the rest. Here any number of draws is handled: draws of a higher p / q have larger keys on
    average and the largest key is chosen, which makes r known exactly and, up to bins of p / q, the best there is
    (``selection``). With 64 tokens or fewer some draw is accepted exactly as often as any coupling can; larger
    vocabularies are put into 64 bins, which costs a fraction of that and no exactness. A node costs one sort of its
    tokens.
    """

    card = Card(
        paper="Multi-Draft Speculative Sampling: Canonical Architectures and Theoretical Limits",
        lossless=True,
        catalogue=(90,),
        arxiv="2410.18234",
    )

    def choose(
        self, p: torch.Tensor, q: torch.Tensor, tokens: Sequence[int], uniform: Uniform
    ) -> tuple[int | None, torch.Tensor]:
        """One number says which draw is chosen, another whether it stands."""
        selection = best_selection(p, q, len(tokens))
        taken, upto = len(tokens) - 1, 0.0
        for rank, share in enumerate(selection.wins(tokens)):
            upto += share
            if uniform(0) < upto:
                taken = rank
                break
        law = selection.law(q)
        if uniform(1) * float(law[tokens[taken]]) < float(p[tokens[taken]]):
            return taken, p
        return None, residual(p, law)
