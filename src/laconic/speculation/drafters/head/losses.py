"""What a drafter is trained to lessen: distances of its distribution from the target's, one line each.

All take the target's log-probabilities and the drafter's logits, ``[rows, vocab]``, and give a number a row. The share
of drafts that speculative sampling accepts is one minus the total variation distance, which ``tvd`` lessens itself; the
others bound it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(target: Tensor, logits: Tensor) -> Tensor:
    """Of the target's likeliest token."""
    return F.cross_entropy(logits, target.argmax(-1), reduction="none")


def kl(target: Tensor, logits: Tensor) -> Tensor:
    """KL(target | drafter): every token that the target may say must be covered."""
    rows: Tensor = _KL.apply(target, logits)  # type: ignore[no-untyped-call]
    return rows


class _KL(torch.autograd.Function):
    """With its gradient, ``q - p``, written out: a vocabulary is wide, and most of training is reading such rows."""

    @staticmethod
    def forward(ctx: Any, target: Tensor, logits: Tensor) -> Tensor:
        mine, told = logits.log_softmax(-1), target.exp()
        rows: Tensor = torch.linalg.vecdot(told, target - mine)
        ctx.save_for_backward(mine.exp_().sub_(told))
        return rows

    @staticmethod
    def backward(ctx: Any, *rows: Tensor) -> tuple[None, Tensor]:
        (slope,) = ctx.saved_tensors
        return None, slope * rows[0][:, None]


def reverse_kl(target: Tensor, logits: Tensor) -> Tensor:
    """KL(drafter | target): nothing may be said that the target would not."""
    mine = logits.log_softmax(-1)
    return (mine.exp() * (mine - target)).sum(-1)


def jensen_shannon(target: Tensor, logits: Tensor) -> Tensor:
    """Mean distance of both from their mean, in the sense of KL."""
    mine = logits.log_softmax(-1)
    middle = F.softplus(mine - target) + target - math.log(2)  # log((p + q) / 2), from the logarithms
    return 0.5 * ((target.exp() * (target - middle)).sum(-1) + (mine.exp() * (mine - middle)).sum(-1))


def tvd(target: Tensor, logits: Tensor) -> Tensor:
    """Total variation distance: the share of drafts that is refused."""
    return 0.5 * (target.exp() - logits.softmax(-1)).abs().sum(-1)


def tvd_plus(target: Tensor, logits: Tensor) -> Tensor:
    """TVD++ (Goel et al. 2024): the gradient of ``tvd`` as a policy gradient, its reward brought to mean 0, deviation
    1.

    A token is rewarded where the target says it more often than the drafter does. Mean and deviation are the drafter's
    own, over all rows.
    """
    mine = logits.log_softmax(-1)
    probs = mine.detach().exp()
    reward = (target > mine.detach()).float()
    mean = (probs * reward).sum() / probs.sum()
    deviation = (probs * (reward - mean) ** 2).sum().div(probs.sum()).sqrt().clamp_min(1e-6)
    return -(probs * (reward - mean) / deviation * mine).sum(-1)


LOSSES: Mapping[str, Loss] = {
    "ce": cross_entropy,
    "kl": kl,
    "reverse-kl": reverse_kl,
    "jsd": jensen_shannon,
    "tvd": tvd,
    "tvd++": tvd_plus,
}
