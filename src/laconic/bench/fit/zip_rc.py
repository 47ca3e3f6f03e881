"""Training the head that ``zip-rc`` goes by, on attempts that the model wrote to their ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from laconic.bench.fit.learn import auc, calibration_error
from laconic.bench.fit.split import split
from laconic.bench.fit.thoughts import STATE
from laconic.bench.oracle.exits import Thought
from laconic.bench.provenance import provenance
from laconic.bench.tasks import Item
from laconic.engine import Engine
from laconic.errors import TaskError, UnmetNeed
from laconic.models.base import ShowsHidden
from laconic.scaling.outlook.head import About, OutlookHead, Trained, binned, read
from laconic.thinking.memory.base import seeded
from laconic.types import Limits, Request, Sampling

RATE, BATCH, DECAY = 1e-3, 64, 0.05
"""Highest learning rate, examples a step and weight decay of AdamW."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the head is trained. ``held_out`` is the share of problems kept for the measures, the last ones.

    ``width`` are the units of the hidden layer; 0 makes the head linear.
    """

    epochs: int = 30
    width: int = 32
    held_out: float = 0.2
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Examples:
    """Ends of steps of one problem's attempts: states ``[n, width]``, and of each attempt whether it was right and the
    tokens left of its thought ``[n]``."""

    states: Tensor
    right: Tensor
    left: Tensor


def fit(
    engine: Engine,
    items: Sequence[Item],
    samples: int,
    sampling: Sampling,
    limits: Limits,
    recipe: Recipe | None = None,
    *,
    batch: int = 16,
    after: Callable[[str], Any] = lambda said: None,
    about: dict[str, Any] | None = None,
) -> Trained:
    """Have ``engine``'s target make ``samples`` attempts at each of ``items``, and train the head on them.

    Attempts whose thought was cut off teach nothing. Raises UnmetNeed for a model without thoughts or hidden states,
    TaskError for too few attempts and for problems that cannot be judged.
    """
    recipe, target = recipe or Recipe(), engine.target
    if not isinstance(target, ShowsHidden):
        raise UnmetNeed("the model shows no hidden states.", "Use a model that laconic runs itself (CausalLM).")
    if not engine.text.format.thinks:
        raise UnmetNeed("the model has no thinking phase; no thinking tags were found.", "Use one that thinks.")
    begun = time.perf_counter()
    found = examples(engine, items, samples, sampling, limits, batch=batch, after=after)
    wrote = time.perf_counter() - begun
    training, held_out = map(_joined, split(found, recipe.held_out, "problems with steps", "Raise --n."))
    after("training")
    begun = time.perf_counter()
    torch.manual_seed(recipe.seed)
    head = OutlookHead(training.states.shape[1], recipe.width)
    learn(head, training, recipe)
    told = {
        **asdict(recipe),
        "problems": len(found),
        "steps": len(training.right),
        "right": float(training.right.mean()),
        "seconds_writing": wrote,
        "seconds_training": time.perf_counter() - begun,
        **(about or {}),
    }
    made = About(
        target.fingerprint(), training.states.shape[1], recipe.width, measures=measures(head, held_out, training),
        training=told, provenance=provenance(),
    )  # fmt: skip
    return Trained(head, made)


def examples(
    engine: Engine,
    items: Sequence[Item],
    samples: int,
    sampling: Sampling,
    limits: Limits,
    *,
    batch: int = 16,
    after: Callable[[str], Any] = lambda said: None,
) -> list[Examples]:
    """Those of each problem that has any."""
    writer, found = engine.using(think=()), []
    at_once = max(batch // samples, 1)
    for begin in range(0, len(items), at_once):
        some = items[begin : begin + at_once]
        requests = [
            replace(writer.request(item.question, sampling=seeded(sampling, number), limits=limits), controllers=())
            for item in some
            for number in range(samples)
        ]
        results = writer.run(requests, batch=batch)
        for at, item in enumerate(some):
            made = []
            for request, result in list(zip(requests, results, strict=True))[at * samples : (at + 1) * samples]:
                right = item.judge(result.answer)
                if right is None:
                    raise TaskError(f"nobody knows whether an answer to '{item.id}' is right.", "Use other problems.")
                made += _of(engine, request, result.tokens, right=right)
            if made:
                found.append(_joined(made))
        after(f"{begin + len(some)} of {len(items)} problems")
    return found


def _of(engine: Engine, request: Request, tokens: Sequence[int], *, right: bool) -> list[Examples]:
    try:
        thought = Thought(engine.target, engine.text, request, tokens)
    except ValueError:  # there is no thought, or it was cut off
        return []
    ends, own = thought.ends[:-1], thought.ends[-1]
    if not ends:
        return []
    thought.show_hidden()
    pairs = [(hidden, end) for end in ends if (hidden := thought.belief(end, STATE).hidden) is not None]
    if not pairs:
        return []
    left = torch.tensor([float(own.thinking - end.thinking) for _, end in pairs])
    states = torch.stack([hidden for hidden, _ in pairs]).float().cpu()
    return [Examples(states, torch.full((len(pairs),), float(right)), left)]


def _joined(parts: Sequence[Examples]) -> Examples:
    return Examples(
        torch.cat([part.states for part in parts]),
        torch.cat([part.right for part in parts]),
        torch.cat([part.left for part in parts]),
    )


def learn(head: OutlookHead, found: Examples, recipe: Recipe) -> None:
    """Train by cross entropy over the pairs of reward and bin of lengths; a bin's length is the mean of those in it."""
    generator = torch.Generator().manual_seed(recipe.seed)
    head.standard.settle(found.states)
    bins = binned(found.left)
    for at in range(len(head.lengths)):
        if bool((bins == at).any()):
            head.lengths[at] = found.left[bins == at].mean()
    labels = found.right.long() * len(head.lengths) + bins
    optimiser = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.epochs * -(-len(labels) // BATCH))
    head.train()
    for _ in range(recipe.epochs):
        for rows in torch.split(torch.randperm(len(labels), generator=generator), BATCH):
            optimiser.zero_grad()
            loss = F.cross_entropy(head(found.states[rows]).flatten(-2), labels[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    head.eval().requires_grad_(False)


def measures(head: OutlookHead, held_out: Examples, training: Examples) -> dict[str, Any]:
    """How well it foresees the attempts at other problems, beside what saying the same of every step would do."""
    with torch.inference_mode():
        right, left = read(head, held_out.states)
    return {
        "steps": len(held_out.right),
        "right": float(held_out.right.mean()),
        "auc": auc(right, held_out.right),
        "calibration_error": calibration_error(right, held_out.right),
        "left_error": float((left - held_out.left).abs().mean()),
        "left_error_of_the_median": float((training.left.median() - held_out.left).abs().mean()),
    }
