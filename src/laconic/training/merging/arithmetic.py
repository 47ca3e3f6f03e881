"""Merging one tensor: a pure function for each method, on float32 tensors of one shape.

``models`` are the tensors of that name in the models that are merged, ``base`` the one in the model that all of them
were trained from. The *difference* of a model is its tensor minus the base's (a task vector).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_PARALLEL = 1e-4
"""Sine of the angle below which SLERP is linear: its two terms are 0 / 0 there, and the results are the same."""


def linear(models: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """``sum_i w_i theta_i``, for weights that sum to 1: a weighted average, or interpolation between two.

    Summed as differences from the model of the largest weight, so that equal tensors give themselves and a weight of 1
    among zeros gives its tensor, both without rounding. Model soups (arXiv:2203.05482, section 2: equal weights);
    stage 1 of AdaR1 (row 50 of the catalogue) and the last step of ReCUT (row 172) interpolate two models so.
    """
    pivot = max(range(len(models)), key=lambda i: weights[i])
    merged = models[pivot].clone()
    for i, (model, weight) in enumerate(zip(models, weights, strict=True)):
        if weight and i != pivot:
            merged += weight * (model - models[pivot])
    return merged


def task_arithmetic(base: Tensor, models: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """``theta_0 + sum_i w_i (theta_i - theta_0)``; weights may be negative and sum to anything.

    Task arithmetic (arXiv:2212.04089, section 2). It is the affine combination in which the base has the weight
    ``1 - sum_i w_i``, and is computed as :func:`linear` of that.
    """
    return linear([base, *models], [1.0 - math.fsum(weights), *weights])


def slerp(first: Tensor, second: Tensor, t: float) -> Tensor:
    """The point at ``t`` (from 0 to 1) of the arc from one tensor to the other, both taken as vectors of all entries.

    ``sin((1-t) a) / sin(a) first + sin(t a) / sin(a) second``, with ``a`` the angle between the two; spherical linear
    interpolation (Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985). Vectors are not
    normed, so lengths are interpolated with directions. Where the angle says nothing (nearly parallel or opposite, or
    a tensor of zeros) the two are interpolated linearly.
    """
    if t in (0.0, 1.0):
        return (second if t else first).clone()
    one, two = first.flatten().double(), second.flatten().double()
    lengths = float(one.norm() * two.norm())
    angle = math.acos(max(-1.0, min(1.0, float(one @ two) / lengths))) if lengths else 0.0
    if math.sin(angle) < _PARALLEL:
        return linear([first, second], [1.0 - t, t])
    return (math.sin((1.0 - t) * angle) * first + math.sin(t * angle) * second) / math.sin(angle)


def trim(difference: Tensor, density: float) -> Tensor:
    """The share ``density`` (above 0, to 1) of entries that are largest in size; the others are 0.

    At least one entry is kept, and so are all that are as large as the smallest one kept. Step 1 of TIES
    (arXiv:2306.01708, algorithm 1).
    """
    size = difference.abs()
    kept = max(1, math.ceil(density * difference.numel()))
    threshold = size.flatten().kthvalue(difference.numel() - kept + 1).values
    return difference.where(size >= threshold, 0.0)


def ties(base: Tensor, models: Sequence[Tensor], weights: Sequence[float], density: float) -> Tensor:
    """TIES (arXiv:2306.01708, algorithm 1): trim, elect a sign for each entry, mean of those that have it.

    Differences are trimmed (:func:`trim`), an entry's sign is that of the weighted sum of the trimmed ones, and its
    merged difference the weighted mean over the models whose own has that sign; where the sum is 0 the base's entry
    stays. The mean times the weights' sum, which is the paper's lambda, is added to the base. With equal weights this
    is the paper's method, tensor by tensor. Weights are 0 or more.
    """
    chosen = [(model, weight) for model, weight in zip(models, weights, strict=True) if weight]
    differences = [trim(model - base, density) for model, _ in chosen]
    sign = sum((weight * part for (_, weight), part in zip(chosen, differences, strict=True)), torch.zeros_like(base))
    sign = sign.sign()
    total, count = torch.zeros_like(base), torch.zeros_like(base)
    for (_, weight), part in zip(chosen, differences, strict=True):
        agrees = part.sign() == sign  # where there is no sign, those without a difference
        total += weight * part.where(agrees, 0.0)
        count += weight * agrees
    return base + math.fsum(weights) * torch.where(count > 0, total / count, 0.0)


def drop(difference: Tensor, density: float, generator: torch.Generator) -> Tensor:
    """Each entry with probability ``density``, divided by it, else 0: the expectation is the difference itself.

    DARE (arXiv:2311.03099, section 3), whose drop rate ``p`` is ``1 - density``.
    """
    kept = torch.rand(difference.shape, generator=generator) < density
    return torch.where(kept, difference / density, 0.0)


def dare(
    base: Tensor, models: Sequence[Tensor], weights: Sequence[float], density: float, generator: torch.Generator
) -> Tensor:
    """``theta_0 + sum_i w_i drop(theta_i - theta_0)``: task arithmetic on differences that :func:`drop` has thinned.

    DARE (arXiv:2311.03099, section 3). Masks are drawn model after model, also for those of weight 0, so that a
    model's mask does not depend on the weights.
    """
    merged = base.clone()
    for model, weight in zip(models, weights, strict=True):
        part = drop(model - base, density, generator)
        if weight:
            merged += weight * part
    return merged


def relax(base: Tensor, merged: Tensor, importance: Tensor, omega: float) -> Tensor:
    """``theta_0 + (1 - s (1 - omega)) (theta - theta_0)``, ``s`` by input channel: a merge held back where it matters.

    ``importance`` is ``s``, ``[in]``, from 0 to 1; tensors are ``[out, in]``. AIM (arXiv:2502.02421, section 3), where
    ``s`` is the mean absolute input of the channel in the base, as a share of the layer's largest. Written as what is
    taken away from the merge, so that an ``omega`` of 1, or no difference, gives the merge without rounding.
    """
    return merged - (1.0 - omega) * importance * (merged - base)
