"""``fit``: from pairs of texts to a direction whose sign, layer and strength were settled by measuring."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

from laconic.bench.provenance import provenance
from laconic.bench.steer.directions import At, Found, How, found
from laconic.bench.steer.effect import Outcome, answers, divergences, outcome
from laconic.bench.steer.pairs import Pair
from laconic.bench.tasks import Item
from laconic.engine import Engine
from laconic.errors import InvalidKnob, RequestError, TaskError, UnmetNeed
from laconic.models.base import Steerable
from laconic.thinking.steer.direction import About, Direction, LayerAbout
from laconic.types import Limits

STRENGTHS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Strengths, of both signs, at which divergences are measured."""
_TEXTS = 8
"""Texts on which they are, at most."""
_LOSS = 0.05
"""Share of right answers that a layer may lose at the common divergence and still be chosen for its length."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a direction is made; see ``directions.found``. ``layers`` empty tries all but the last, whose output only the
    last norm and the head see. ``kl`` is the divergence at which layers are compared."""

    how: How = "mean"
    at: At = "mean"
    layers: tuple[int, ...] = ()
    kl: float = 0.01


@dataclass(frozen=True, slots=True)
class _Trial:
    """A layer's push at the common divergence, towards what pairs call concise and away from it."""

    found: Found
    kl: list[tuple[float, float]]
    strengths: tuple[float, float]
    outcomes: tuple[Outcome, Outcome]


def fit(
    engine: Engine,
    pairs: Sequence[Pair],
    held_out: Sequence[Item],
    limits: Limits,
    recipe: Recipe | None = None,
    *,
    batch: int = 16,
    after: Callable[[str], Any] = lambda said: None,
    about: dict[str, Any] | None = None,
) -> Direction:
    """Find directions, push both ways along each on held-out problems, and keep what was learned.

    The way on which thoughts are shorter is the positive one, whatever the pairs say. Layers are compared where they
    disturb the next token equally (``recipe.kl``); the one with the shortest thoughts is chosen among those that lose
    little rightness. ``after`` is told what is being done, ``about`` goes into the description. Raises UnmetNeed for a
    model that cannot be steered, TaskError without pairs or problems.
    """
    recipe = recipe or Recipe()
    model, layers = _model(engine), _layers(engine, recipe)
    if not pairs or not held_out:
        raise TaskError("there are no pairs to fit on, or no problems to measure on.", "Raise --n or --held-out.")
    begun = time.perf_counter()
    parts = found(model, engine.text, pairs, layers, how=recipe.how, at=recipe.at,
                  after=lambda n: after(f"{n} texts read"))  # fmt: skip
    after("answering without a push")
    requests, results = answers(engine, held_out, limits, batch=batch)
    free = outcome(held_out, results)
    texts = [(request.prompt, result.tokens) for request, result in zip(requests, results, strict=True)][:_TEXTS]
    known: dict[int, LayerAbout] = {}
    vectors = {}
    for layer in layers:
        after(f"layer {layer}")
        trial = _try(engine, layer, parts[layer], texts, held_out, limits, recipe.kl, batch)
        known[layer], sign = _settled(layer, trial)
        vectors[layer] = sign * parts[layer].vector
    chosen = best(list(known.values()), free.right)
    training = asdict(recipe) | {"limits": asdict(limits), "seconds": time.perf_counter() - begun, **(about or {})}
    return Direction(
        vectors,
        About(model.fingerprint(), chosen, recipe.kl, recipe.how, recipe.at, len(pairs), tuple(known.values()),
              free.as_dict(), training, provenance()),
    )  # fmt: skip


def best(layers: Sequence[LayerAbout], right: float) -> int:
    """The layer with the shortest thoughts among those not much less right than ``right``; else the rightest."""
    sound = [layer for layer in layers if layer.effect["shorter"]["right"] >= right - _LOSS]
    if sound:
        return min(sound, key=lambda layer: layer.effect["shorter"]["thinking"]).layer
    return max(layers, key=lambda layer: layer.effect["shorter"]["right"]).layer


def _model(engine: Engine) -> Steerable:
    if not isinstance(engine.target, Steerable):
        raise UnmetNeed("this model cannot be steered.", "Use a model that laconic runs itself (CausalLM).")
    return cast(Steerable, engine.target)


def _layers(engine: Engine, recipe: Recipe) -> list[int]:
    count = _model(engine).num_layers
    chosen = sorted(set(recipe.layers)) or list(range(max(count - 1, 1)))
    if not set(chosen) <= set(range(count)):
        raise RequestError(f"this model has no such layers as {chosen}.", f"It has layers 0 to {count - 1}.")
    return chosen


def _try(
    engine: Engine,
    layer: int,
    part: Found,
    texts: Sequence[tuple[Sequence[int], Sequence[int]]],
    held_out: Sequence[Item],
    limits: Limits,
    kl: float,
    batch: int,
) -> _Trial:
    both = (*(-strength for strength in STRENGTHS[::-1]), *STRENGTHS)
    pushes = [{layer: strength * part.norm * part.vector} for strength in both]
    table = list(zip(both, divergences(engine.target, texts, pushes), strict=True))
    measured = LayerAbout(layer, part.norm, part.parted, table)
    strengths, outcomes = [], []
    for sign in (1, -1):
        try:
            strength = measured.strength(kl, sign)
        except InvalidKnob:  # even the hardest push disturbs less
            strength = sign * STRENGTHS[-1]
        _, results = answers(engine, held_out, limits, {layer: strength * part.norm * part.vector}, batch)
        strengths.append(strength)
        outcomes.append(outcome(held_out, results))
    return _Trial(part, table, (strengths[0], strengths[1]), (outcomes[0], outcomes[1]))


def _settled(layer: int, trial: _Trial) -> tuple[LayerAbout, int]:
    """What is known of a layer once positive strengths are those that make thoughts shorter, and the vector's sign."""
    towards, away = trial.outcomes
    flipped = away.thinking < towards.thinking
    sign = -1 if flipped else 1
    ways = list(zip(trial.strengths, trial.outcomes, strict=True))[::sign]
    effect = {
        name: {"strength": sign * strength, **measured.as_dict()}
        for name, (strength, measured) in zip(("shorter", "longer"), ways, strict=True)
    }
    table = sorted((sign * strength, kl) for strength, kl in trial.kl)
    plain = LayerAbout(layer, trial.found.norm, trial.found.parted, table)
    return replace(plain, flipped=flipped, effect=effect), sign
