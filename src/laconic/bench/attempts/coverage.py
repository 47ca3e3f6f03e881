"""How often at least one of k attempts is right, and how that grows with k."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def pass_at(k: int, n: int, right: int) -> float:
    """Chance that one of ``k`` attempts is right, from ``n`` of which ``right`` are; without bias.

    Source: Large Language Monkeys (Brown et al. 2024), after Chen et al. 2021: 1 - C(n - right, k) / C(n, k). Raises
    ValueError for k that is not among 1 .. n.

    >>> pass_at(1, 8, 2), pass_at(2, 4, 2)
    (0.25, 0.8333333333333334)
    """
    if not 1 <= k <= n:
        raise ValueError(f"k must be 1 to {n}, not {k}")
    return 1 - math.comb(n - right, k) / math.comb(n, k)


def coverage(counts: Sequence[tuple[int, int]], ks: Sequence[int]) -> list[float]:
    """Share of problems that one of k attempts solves, for each of ``ks``; ``counts`` are (attempts, right) each."""
    return [sum(pass_at(k, n, right) for n, right in counts) / len(counts) for k in ks]


def power_law(ks: Sequence[int], covered: Sequence[float]) -> tuple[float, float] | None:
    """``a`` and ``b`` of coverage = exp(a k^b), fitted on log(-log(coverage)) (Brown et al. 2024, equation 2).

    None where fewer than two points lie between 0 and 1.
    """
    points = [(math.log(k), math.log(-math.log(c))) for k, c in zip(ks, covered, strict=True) if 0 < c < 1]
    if len(points) < 2:
        return None
    b, intercept = np.polyfit([x for x, _ in points], [y for _, y in points], 1)
    return -math.exp(intercept), float(b)
