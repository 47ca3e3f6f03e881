"""Training a head, and how good it is on texts that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from laconic.bench.fit.examples import Examples
from laconic.speculation.heads import Head

Loss = Callable[[Tensor, Tensor], Tensor]
"""A number from outputs ``[n]`` and labels ``[n]``."""

RATE, BATCH, DECAY = 1e-3, 256, 0.01
"""Highest learning rate, examples a step and weight decay of AdamW."""
_BINS = 10


def weighted_cross_entropy(logits: Tensor, accepted: Tensor, weight: float) -> Tensor:
    """Binary cross entropy of SpecDec++: refusals count ``weight`` times, and the sum is over all weights."""
    weights = accepted + weight * (1 - accepted)
    return F.binary_cross_entropy_with_logits(logits, accepted, weights, reduction="sum") / weights.sum()


def learn(
    head: Head,
    examples: Examples,
    loss: Loss,
    *,
    epochs: int,
    seed: int,
    rate: float = RATE,
    batch: int = BATCH,
    decay: float = DECAY,
) -> None:
    """Train ``head`` on ``examples``: AdamW, the rate falling along a cosine to nothing."""
    generator = torch.Generator().manual_seed(seed)
    head.standard.settle(examples.inputs)
    steps = epochs * -(-len(examples) // batch)
    optimiser = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    head.train()
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(examples), generator=generator), batch):
            optimiser.zero_grad()
            loss(head(examples.inputs[rows]), examples.labels[rows]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    head.eval().requires_grad_(False)


def acceptance_measures(head: Head, held_out: Examples, weight: float) -> dict[str, Any]:
    """How well chances of acceptance order tokens (area under the ROC curve), and how far they are from the truth.

    ``calibration_error`` is the mean distance of stated chance and share accepted over ten bins, weighted by tokens.
    A head trained with refusals weighted understates chances by design; ``unweighted`` is what it says once the odds
    are multiplied by the weight. ``auc_confidence`` is the order by the draft model's own confidence.
    """
    with torch.inference_mode():
        logits = head(held_out.inputs)
    said = logits.sigmoid()
    fair = (logits + torch.tensor(weight).log()).sigmoid()
    return {
        "texts": held_out.texts,
        "tokens": len(held_out),
        "accepted": float(held_out.labels.mean()),
        "auc": auc(said, held_out.labels),
        "auc_confidence": auc(held_out.said, held_out.labels),
        "mean_chance": float(said.mean()),
        "calibration_error": calibration_error(said, held_out.labels),
        "mean_chance_unweighted": float(fair.mean()),
        "calibration_error_unweighted": calibration_error(fair, held_out.labels),
    }


def length_measures(head: Head, held_out: Examples, mean: float) -> dict[str, Any]:
    """Mean absolute error in tokens, beside always saying ``mean``, that of training; correlation; share too long."""
    with torch.inference_mode():
        said = head(held_out.inputs)
    both = torch.stack([said, held_out.labels])
    return {
        "texts": held_out.texts,
        "tokens": len(held_out),
        "mean_accepted": float(held_out.labels.mean()),
        "error": float((said - held_out.labels).abs().mean()),
        "error_of_the_mean": float((mean - held_out.labels).abs().mean()),
        "correlation": float(torch.corrcoef(both)[0, 1].nan_to_num(0.0)),
        "too_long": float((said.round() > held_out.labels).float().mean()),
    }


def auc(scores: Tensor, labels: Tensor) -> float:
    """Chance that an accepted token has a higher score than a refused one, ties counting half; 0.5 if there are none.

    >>> auc(torch.tensor([0.1, 0.4, 0.4, 0.9]), torch.tensor([0.0, 0.0, 1.0, 1.0]))
    0.875
    """
    accepted, refused = scores[labels > 0.5], scores[labels <= 0.5].sort().values
    if not len(accepted) or not len(refused):
        return 0.5
    below = torch.searchsorted(refused, accepted, right=False)
    upto = torch.searchsorted(refused, accepted, right=True)
    return float((below + upto).double().mean() / 2 / len(refused))


def calibration_error(chances: Tensor, labels: Tensor) -> float:
    """Mean distance of stated and true share over ten bins of equal width, weighted by examples."""
    bins = (chances * _BINS).long().clamp(0, _BINS - 1)
    apart = torch.zeros(_BINS).index_add_(0, bins, chances - labels)
    return float(apart.abs().sum() / len(labels))
