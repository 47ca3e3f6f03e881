"""Least squares under the condition that no coefficient is negative."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_ENOUGH = 1e-10


def nnls(features: Array, wanted: Array) -> Array:
    """The x >= 0 that makes ``|features @ x - wanted|`` smallest; ``[n, k]``, ``[n]`` -> ``[k]``.

    The active-set method of Lawson and Hanson (Solving Least Squares Problems, 1974, chapter 23): free the coefficient
    whose growth helps most, solve for the free ones, and where one would turn negative go only so far and fix it at 0.
    """
    # Features may differ by many orders of magnitude; in units of their own size the problem is well conditioned.
    scale: Array = np.maximum(np.linalg.norm(features, axis=0), np.finfo(float).tiny)
    features = features / scale
    count = features.shape[1]
    x: Array = np.zeros(count)
    free = np.zeros(count, dtype=bool)
    for _ in range(10 * count):  # each round lowers the residual, so no free set comes twice; the bound is for rounding
        gradient = features.T @ (wanted - features @ x)
        gradient[free] = -np.inf
        best = int(gradient.argmax())
        if gradient[best] <= _ENOUGH:
            break
        free[best] = True
        while True:
            trial = np.zeros(count)
            trial[free] = np.linalg.lstsq(features[:, free], wanted, rcond=None)[0]
            falling = free & (trial <= 0)
            if not falling.any():
                x = trial
                break
            step = np.min(x[falling] / np.maximum(x[falling] - trial[falling], np.finfo(float).tiny))
            x = x + step * (trial - x)
            x[falling & (x <= _ENOUGH)] = 0.0
            free &= x > 0
    return x / scale
