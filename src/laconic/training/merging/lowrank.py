"""Merging one tensor by differences of low rank from a base that nobody has: LoRE-Merging (arXiv:2502.10749)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_ROWS = 4096
"""Rows of a matrix that are in float64 at a time."""
_STILL = 1e-6
"""Of the longest difference between two models: a base that moves by less has settled, as far as float32 can tell."""


def shrink(matrix: Tensor, mu: float) -> Tensor:
    """Singular values made smaller by ``mu``, those below it 0: singular value thresholding (arXiv:0810.3286).

    It minimises ``1/2 ||found - matrix||_F^2 + mu ||found||_*``. A vector is a matrix of one row, whose only singular
    value is its length; of a tensor of more dimensions the last two are matrices, each by itself. Values and vectors
    come from the matrix times its own transpose, summed in float64.
    """
    if not mu:
        return matrix.clone()
    if matrix.dim() > 2:
        return torch.stack([shrink(part, mu) for part in matrix])
    rows = matrix if matrix.dim() == 2 else matrix.reshape(1, -1)
    tall = rows if rows.shape[0] >= rows.shape[1] else rows.T
    products = torch.zeros(tall.shape[1], tall.shape[1], dtype=torch.float64)
    for part in torch.split(tall, _ROWS):
        products += part.double().T @ part.double()
    squares, vectors = torch.linalg.eigh(products)
    kept = (1 - mu / squares.clamp(min=0).sqrt()).clamp(min=0)  # mu / 0 is infinite, and nothing is kept
    found: Tensor = tall @ (vectors * kept @ vectors.T).to(tall.dtype)
    return (found if tall is rows else found.T).reshape(matrix.shape)


def lore(models: Sequence[Tensor], weights: Sequence[float], mu: float, iterations: int) -> Tensor:
    """``theta_0 + sum_i w_i delta_i`` for a base and differences that are estimated from the models alone.

    LoRE-Merging (arXiv:2502.10749, algorithm 1): coordinate descent in turns, from ``delta_i = 0``, ``theta_0`` the
    mean of ``theta_i - delta_i``, then every ``delta_i`` the :func:`shrink` of ``theta_i - theta_0``. This descends
    ``sum_i (1/2 ||theta_0 + delta_i - theta_i||_F^2 + mu ||delta_i||_*)``; the paper prints the norm squared, of which
    thresholding by ``mu`` is no minimiser, and its algorithm is followed. After ``iterations`` turns, or once
    ``theta_0`` stays where it is, the differences are added with weights of any sum; all models count alike in
    ``theta_0``. Of two models it is the mean plus ``(w_1 - w_2)`` times one shrunk half of what is between them.
    All is computed as differences from the first model, so that equal tensors give themselves without rounding.
    """
    parts = [model - models[0] for model in models]
    still = _STILL * max(float(part.norm()) for part in parts)
    base = torch.stack(parts).mean(0)
    differences = [shrink(part - base, mu) for part in parts]
    for _ in range(iterations - 1):
        moved = torch.stack([part - difference for part, difference in zip(parts, differences, strict=True)]).mean(0)
        if float((moved - base).norm()) <= still:
            break
        base = moved
        differences = [shrink(part - base, mu) for part in parts]
    merged = models[0] + base
    for weight, difference in zip(weights, differences, strict=True):
        merged += weight * difference
    return merged
