"""Confidence intervals of shares, used wherever a share is stated."""

from __future__ import annotations

import math

Z95 = 1.959964
"""Quantile of the normal distribution for a two-sided 95 % interval."""


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % interval of a share, Wilson's score method. Without any trial it is (0, 1).

    >>> [round(bound, 3) for bound in wilson(9, 10)]
    [0.596, 0.982]
    """
    if n == 0:
        return 0.0, 1.0
    share, z2 = right / n, Z95 * Z95
    middle = share + z2 / (2 * n)
    half = Z95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low, high = (middle - half) / (1 + z2 / n), (middle + half) / (1 + z2 / n)
    return (low if right else 0.0), (high if right < n else 1.0)  # at the ends exactly, which rounding may miss
