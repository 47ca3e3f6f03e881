"""Training the head that ``judge-head`` goes by: which refused guesses leave the answer as it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from laconic.bench.fit.examples import Examples
from laconic.bench.fit.learn import auc, calibration_error, learn, weighted_cross_entropy
from laconic.bench.fit.mistakes import Walk, walks
from laconic.bench.fit.run import shown
from laconic.bench.fit.split import split
from laconic.bench.provenance import provenance
from laconic.engine import Engine
from laconic.errors import UnmetNeed
from laconic.speculation.heads import About, Head, Trained
from laconic.types import Request

RATE, BATCH, DECAY = 3e-3, 64, 0.1
"""Highest learning rate, examples a step and weight decay: there are few examples, and a linear head learns slowly."""
THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95)
"""Where the measures say what would stand."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the head is trained. ``layers`` are residual layers before the linear one; the paper has none.

    ``weight`` is how much more a mistake counts. ``held_out`` is the share of texts kept for the measures, the last.
    """

    epochs: int = 100
    layers: int = 0
    weight: float = 1.0
    held_out: float = 0.2
    seed: int = 0


def fit(
    engine: Engine,
    requests: Sequence[Request],
    recipe: Recipe | None = None,
    *,
    batch: int = 16,
    after: Callable[[str], Any] = lambda said: None,
    about: dict[str, Any] | None = None,
) -> Trained:
    """Let ``engine``'s target answer ``requests``, try its draft model's refused guesses, and train on what came of it.

    ``after`` is told what has been done, ``about`` goes into the head's description. Raises UnmetNeed where a model is
    missing or shows no hidden states, and TaskError where there is too little to learn from.
    """
    recipe = recipe or Recipe()
    draft = engine.draft_model
    if draft is None:
        raise UnmetNeed("a judge is trained on what a draft model guesses.", "Name one with --draft-model.")
    target, other = shown(engine.target, "target"), shown(draft, "draft model")
    target.keep_hidden = True
    begun = time.perf_counter()
    found = [walk for walk in walks(engine, draft, requests, batch=batch, after=after) if walk.labels]
    tried = time.perf_counter() - begun
    training, held_out = map(joined, split(found, recipe.held_out, "texts with refused guesses"))
    after("training")
    begun = time.perf_counter()
    torch.manual_seed(recipe.seed)
    inputs = training.inputs.shape[1]
    described = About("judge-head", "target", target.fingerprint(), other.fingerprint(), inputs, recipe.layers,
                      0, float(training.labels.mean()))  # fmt: skip
    head = described.network()
    loss = partial(weighted_cross_entropy, weight=recipe.weight)
    learn(head, training, loss, epochs=recipe.epochs, seed=recipe.seed, rate=RATE, batch=BATCH, decay=DECAY)
    said = asdict(described) | {
        "measures": measures(head, held_out),
        "training": {
            **asdict(recipe),
            "texts": training.texts,
            "guesses": len(training),
            "harmless": float(training.labels.mean()),
            "seconds_trying": tried,
            "seconds_training": time.perf_counter() - begun,
            **(about or {}),
        },
        "provenance": provenance(),
    }
    return Trained(head, About(**said))


def measures(head: Head, held_out: Examples) -> dict[str, Any]:
    """How well the head tells harmless guesses from mistakes, beside the draft model's confidence in them.

    ``standing`` says for some thresholds which share of the refused guesses would stand, and which share of the
    mistakes among them.
    """
    with torch.inference_mode():
        said = head(held_out.inputs).sigmoid()
    wrong = held_out.labels < 0.5
    return {
        "texts": held_out.texts,
        "guesses": len(held_out),
        "harmless": float(held_out.labels.mean()),
        "auc": auc(said, held_out.labels),
        "auc_confidence": auc(held_out.said, held_out.labels),
        "calibration_error": calibration_error(said, held_out.labels),
        "standing": {
            str(bar): [float((said > bar).float().mean()), float((said[wrong] > bar).sum() / wrong.sum().clamp_min(1))]
            for bar in THRESHOLDS
        },
    }


def joined(found: Sequence[Walk]) -> Examples:
    """The examples of several texts as one."""
    return Examples(
        torch.stack([state for walk in found for state in walk.inputs]),
        torch.tensor([label for walk in found for label in walk.labels]),
        torch.tensor([said for walk in found for said in walk.sayings]),
        len(found),
    )
