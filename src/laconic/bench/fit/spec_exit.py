"""Training the heads that ``spec-exit`` goes by, on thoughts that the model wrote to their end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from laconic.bench.fit.learn import auc, calibration_error
from laconic.bench.fit.split import split
from laconic.bench.fit.thoughts import Examples, Label, examples, joined
from laconic.bench.provenance import provenance
from laconic.bench.tasks import Item
from laconic.engine import Engine
from laconic.errors import UnmetNeed
from laconic.models.base import ShowsHidden
from laconic.thinking.exit.signals import About, SignalHead, Trained, read
from laconic.types import Request

RATE, BATCH, DECAY = 1e-3, 64, 0.01
"""Highest learning rate, examples a step and weight decay of AdamW."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the heads are trained. ``held_out`` is the share of thoughts kept for the measures, the last ones.

    ``label`` says what confidence is of: that the answer forced at a step would be ``right``, where the problem can be
    judged, or that it is already the ``final`` one. ``width`` are the units of the hidden layer; 0 makes heads linear.
    """

    epochs: int = 40
    width: int = 32
    label: Label = "right"
    held_out: float = 0.2
    seed: int = 0


def fit(
    engine: Engine,
    items: Sequence[Item],
    requests: Sequence[Request],
    recipe: Recipe | None = None,
    *,
    batch: int = 16,
    after: Callable[[str], Any] = lambda said: None,
    about: dict[str, Any] | None = None,
) -> Trained:
    """Let ``engine``'s target think freely about ``requests``, ask at every step end, and train the heads.

    ``items`` are the problems that the requests ask. ``after`` is told what has been done, ``about`` goes into the
    head's description. Raises UnmetNeed for a model without thoughts or hidden states, TaskError for too few thoughts.
    """
    recipe = recipe or Recipe()
    target = engine.target
    if not isinstance(target, ShowsHidden):
        raise UnmetNeed("the model shows no hidden states.", "Use a model that laconic runs itself (CausalLM).")
    if not engine.text.format.thinks:
        raise UnmetNeed("the model has no thinking phase; no thinking tags were found.", "Use one that thinks.")
    begun = time.perf_counter()
    found = examples(engine, items, requests, recipe.label, batch=batch, after=after)
    asked = time.perf_counter() - begun
    parts = split(found, recipe.held_out, "finished thoughts with steps", "Raise --n or --max-tokens.")
    training, held_out = map(joined, parts)
    after("training")
    begun = time.perf_counter()
    torch.manual_seed(recipe.seed)
    head = SignalHead(training.states.shape[1], recipe.width)
    learn(head, training, epochs=recipe.epochs, seed=recipe.seed)
    told = {
        **asdict(recipe),
        "thoughts": training.thoughts,
        "steps": len(training),
        "seconds_thinking": asked,
        "seconds_training": time.perf_counter() - begun,
        **(about or {}),
    }
    return Trained(
        head,
        About(
            target.fingerprint(),
            head.shift.shape[0],
            recipe.width,
            measures=measures(head, held_out, training),
            training=told,
            provenance=provenance(),
        ),
    )


def learn(head: SignalHead, found: Examples, *, epochs: int, seed: int) -> None:
    """Train on all three at once: cross entropy of both chances, smooth absolute error of the logarithm of tokens."""
    generator = torch.Generator().manual_seed(seed)
    head.settle(found.states)
    chances = torch.stack([found.settled, found.progress], dim=1)
    left = found.remaining.log1p()
    with torch.no_grad():
        cast(nn.Linear, head.body[-1]).bias[2] = left.mean()
    optimiser = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=DECAY)
    steps = epochs * -(-len(found) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    head.train()
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(found), generator=generator), BATCH):
            optimiser.zero_grad()
            out = head(found.states[rows])
            loss = F.binary_cross_entropy_with_logits(out[:, :2], chances[rows]) + F.smooth_l1_loss(
                out[:, 2], left[rows]
            )
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    head.eval().requires_grad_(False)


def measures(head: SignalHead, held_out: Examples, training: Examples) -> dict[str, Any]:
    """How well each signal does on other thoughts, beside what saying the same of every step would do.

    Confidence: area under the ROC curve, and how far stated chances are from shares. ``auc_by_length`` orders steps by
    the thinking tokens before them alone. Progress and remaining: mean absolute errors, beside those of the training
    mean and median.
    """
    with torch.inference_mode():
        confidence, progress, remaining = read(head(held_out.states)).unbind(-1)
    spent = held_out.remaining * held_out.progress / (1 - held_out.progress).clamp_min(1e-6)
    return {
        "thoughts": held_out.thoughts,
        "steps": len(held_out),
        "settled": float(held_out.settled.mean()),
        "auc": auc(confidence, held_out.settled),
        "auc_by_length": auc(spent, held_out.settled),
        "calibration_error": calibration_error(confidence, held_out.settled),
        "progress_error": _error(progress, held_out.progress),
        "progress_error_of_the_mean": _error(training.progress.mean(), held_out.progress),
        "remaining_error": _error(remaining, held_out.remaining),
        "remaining_error_of_the_median": _error(training.remaining.median(), held_out.remaining),
    }


def _error(said: Tensor, true: Tensor) -> float:
    return float((said - true).abs().mean())
