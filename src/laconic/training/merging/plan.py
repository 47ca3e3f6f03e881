"""What is to be merged, and how: methods by name, what each of them takes, and what is refused."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import torch
from torch import Tensor

from laconic.errors import RequestError, did_you_mean
from laconic.training.merging import arithmetic, lowrank
from laconic.training.merging.aim import Aim

METHODS = ("linear", "slerp", "lore", "task-arithmetic", "ties", "dare")
BASED = METHODS[3:]
"""Those that work on differences from a base."""
DENSITY = {"ties": 0.2, "dare": 0.1}
"""The share of differences that is kept, if not said: TIES' k of 20 %, DARE's drop rate of 0.9."""
MU, ITERATIONS = 0.01, 20
"""By how much LoRE shrinks singular values, and its turns of coordinate descent, if not said; both are ours."""
_TOLERANCE = 1e-6
"""How far a sum of weights may be from 1: what decimal fractions are off by, and no more."""

_POINTS = 101
"""Checkpoints that one sweep may write."""


@dataclass(frozen=True)
class Plan:
    """A method and its numbers; ``weights`` in the order of the models. Raises RequestError for what cannot be.

    The weights of ``linear`` and ``slerp`` sum to 1, and ``slerp`` has two, of 0 or more. Those of ``ties`` are 0 or
    more. The others take any sum: it is the strength at which the merged difference is added. ``density`` (of ``ties``
    and ``dare``; from 0 to 1, None for the paper's) is the share of differences that is kept, ``seed`` is of the draws
    of ``dare``. ``mu`` (0 or more, in the units of singular values) and ``iterations`` (1 or more) are of ``lore``.
    ``aim`` is a step behind any method with a base.
    """

    method: str
    weights: tuple[float, ...]
    density: float | None = None
    seed: int = 0
    mu: float | None = None
    iterations: int | None = None
    aim: Aim | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise RequestError(f"no way to merge is called '{self.method}'.", did_you_mean(self.method, METHODS))
        self._check_weights()
        if self.density is not None and self.method not in DENSITY:
            raise RequestError(
                f"'{self.method}' keeps all of a difference.", f"density is for {' and '.join(DENSITY)}."
            )
        if self.density is not None and not 0 < self.density <= 1:
            raise RequestError(f"a density of {self.density} is no share.", "Say one above 0, up to 1.")
        if (self.mu, self.iterations) != (None, None) and self.method != "lore":
            raise RequestError(f"'{self.method}' estimates no low rank.", "mu and iterations are for lore.")
        if self.mu is not None and not 0 <= self.mu < math.inf:
            raise RequestError(f"singular values cannot be shrunk by {self.mu}.", "Say a number of 0 or more.")
        if self.iterations is not None and self.iterations < 1:
            raise RequestError(f"{self.iterations} iterations estimate nothing.", "Say 1 or more.")
        if self.aim is not None and self.method not in BASED:
            raise RequestError(
                f"'{self.method}' has no base that AIM could hold to.", f"Methods with one: {', '.join(BASED)}."
            )
        if self.method == "lore" and self._averages():
            raise RequestError(
                "'lore' with these weights is the plain average, whatever it estimates.",
                "Give weights that differ, as MODEL:1 OTHER:0.5, or merge linearly.",
            )
        lore = self.method == "lore"  # what was not said stands in the plan, and so in the report
        for name, default in (
            ("density", DENSITY.get(self.method)),
            ("mu", MU if lore else None),
            ("iterations", ITERATIONS if lore else None),
        ):
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)

    def _averages(self) -> bool:
        """Whether models count alike, and what is estimated cancels: with two of them, or where weights sum to 1."""
        alike = len(self.weights) > 1 and len(set(self.weights)) == 1
        return alike and (len(self.weights) == 2 or abs(math.fsum(self.weights) - 1) <= _TOLERANCE)

    def _check_weights(self) -> None:
        shown, total = ", ".join(f"{weight:g}" for weight in self.weights), math.fsum(self.weights)
        if not all(map(math.isfinite, self.weights)):
            raise RequestError(f"weights must be finite numbers, not {shown}.", "Say MODEL:0.5.")
        if not any(self.weights):
            raise RequestError("all weights are 0, or there are none.", "Name models, as MODEL or MODEL:0.5.")
        if self.method == "slerp" and len(self.weights) != 2:
            raise RequestError(f"'slerp' goes from one model to another; there are {len(self.weights)}.", "Name two.")
        if self.method in ("linear", "slerp") and abs(total - 1) > _TOLERANCE:
            raise RequestError(
                f"the weights of '{self.method}' must sum to 1; {shown} sum to {total:g}.",
                "With another sum weights grow or shrink; strengths are for methods that add differences.",
            )
        if self.method in ("slerp", "ties") and min(self.weights) < 0:
            raise RequestError(f"'{self.method}' takes no negative weights: {shown}.", "linear and task-arithmetic do.")

    def merge(
        self, name: str, base: Tensor | None, models: Sequence[Tensor], importance: Tensor | None = None
    ) -> Tensor:
        """The merged tensor ``name``, in float32, out of tensors of one shape in any number format.

        What ``dare`` draws for a tensor depends on the seed and on the tensor's name alone. ``importance`` is what AIM
        knows of its input channels (aim.calibrate), None where that is nothing: the tensor is left as merged.
        """
        start = None if base is None else base.float()
        merged = self._merge(name, start, [model.float() for model in models])
        if self.aim is None or importance is None:
            return merged
        assert start is not None  # AIM is refused without one
        return arithmetic.relax(start, merged, importance, self.aim.omega)

    def _merge(self, name: str, start: Tensor | None, parts: Sequence[Tensor]) -> Tensor:
        if self.method == "linear":
            return arithmetic.linear(parts, self.weights)
        if self.method == "slerp":
            return arithmetic.slerp(parts[0], parts[1], self.weights[1] / math.fsum(self.weights))
        if self.method == "lore":
            assert self.mu is not None  # as all that was not said
            assert self.iterations is not None
            return lowrank.lore(parts, self.weights, self.mu, self.iterations)
        assert start is not None  # whoever has a plan with a base has opened one
        if self.method == "task-arithmetic":
            return arithmetic.task_arithmetic(start, parts, self.weights)
        assert self.density is not None
        if self.method == "ties":
            return arithmetic.ties(start, parts, self.weights, self.density)
        return arithmetic.dare(start, parts, self.weights, self.density, generator(self.seed, name))


def generator(seed: int, name: str) -> torch.Generator:
    """Random numbers for one tensor, whenever it comes."""
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def read_models(said: Sequence[str]) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Models and weights out of ``MODEL`` or ``MODEL:WEIGHT``; without weights all have the same, which sum to 1.

    Raises RequestError where some have a weight and others have none.

    >>> read_models(["a:0.25", "b:0.75"]), read_models(["a", "b"])
    ((('a', 'b'), (0.25, 0.75)), (('a', 'b'), (0.5, 0.5)))
    """
    parts = [_model(word) for word in said]
    models = tuple(model for model, _ in parts)
    weights = [weight for _, weight in parts if weight is not None]
    if weights and len(weights) < len(models):
        lacking = next(model for model, weight in parts if weight is None)
        raise RequestError(f"'{lacking}' has no weight, and others have one.", "Say MODEL:WEIGHT for all, or for none.")
    return models, tuple(weights) or tuple(1 / len(models) for _ in models)


def read_sweep(said: str) -> tuple[Decimal, ...]:
    """Points ``START:STOP:STEP`` of a line between two models, the ends included. Raises RequestError.

    >>> [str(point) for point in read_sweep("0:1:0.25")]
    ['0.00', '0.25', '0.50', '0.75', '1.00']
    """
    try:
        start, stop, step = (Decimal(part) for part in said.split(":"))
        count = int((stop - start) / step) + 1
    except (ValueError, ArithmeticError):  # not three numbers, or a step of 0 or of no size
        count = 0
    if not 1 < count <= _POINTS:
        raise RequestError(f"'{said}' is no sweep of 2 to {_POINTS} points.", "Say START:STOP:STEP, like 0:1:0.25.")
    return tuple(start + i * step for i in range(count))


def _model(word: str) -> tuple[str, float | None]:
    name, colon, weight = word.rpartition(":")
    try:
        return (name, float(weight)) if colon else (word, None)
    except ValueError:  # a colon of the name's own
        return word, None
