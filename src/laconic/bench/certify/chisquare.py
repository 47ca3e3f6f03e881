"""The chi-square distribution, central and not: tail, quantile, and the power of a test that uses it.

The tail is the regularised upper incomplete gamma function Q(freedom / 2, x / 2). The noncentral distribution is a
Poisson mixture of central ones (Johnson, Kotz and Balakrishnan 1995, chapter 29), summed until nothing is left.
"""

from __future__ import annotations

import math

import torch


def tail(x: float, freedom: float) -> float:
    """Probability that a chi-square variable with ``freedom`` degrees of freedom exceeds ``x``."""
    if x <= 0:
        return 1.0
    if math.isinf(x):
        return 0.0
    halves = torch.tensor([freedom / 2, x / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(halves[0], halves[1]))


def quantile(share: float, freedom: float) -> float:
    """The x that is exceeded with probability ``share``, by bisection."""
    low, high = 0.0, freedom + 10.0
    while tail(high, freedom) > share:
        low, high = high, 2 * high
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if tail(middle, freedom) > share else (low, middle)
    return high


def power(freedom: float, alpha: float, noncentrality: float) -> float:
    """Probability that a test at level ``alpha`` sounds when the statistic is noncentral chi-square."""
    if noncentrality <= 0:
        return alpha
    critical, mean = quantile(alpha, freedom), noncentrality / 2
    count = torch.arange(int(mean + 12 * math.sqrt(mean) + 40), dtype=torch.float64)
    weight = (count * math.log(mean) - mean - torch.lgamma(count + 1)).exp()
    half = torch.full_like(count, critical / 2)
    tails = torch.special.gammaincc(freedom / 2 + count, half)
    return min(float((weight * tails).sum()), 1.0)


def noncentrality(samples: int, distance: float) -> float:
    """Least noncentrality that a total-variation ``distance`` gives the G statistic of ``samples`` draws.

    Over all ways to move ``distance`` of the mass, sum (p' - p)^2 / p is least where the mass moves in proportion
    to p between two sets of equal weight; there it is 4 distance^2. Any other bias is noticed sooner.
    """
    return 4.0 * samples * distance * distance


def detectable(freedom: float, alpha: float, samples: int, wanted: float = 0.9) -> float:
    """Smallest total-variation distance noticed with probability ``wanted``; 1 where no distance is."""
    low, high = 0.0, 1.0
    if power(freedom, alpha, noncentrality(samples, high)) < wanted:
        return 1.0
    for _ in range(30):
        middle = (low + high) / 2
        enough = power(freedom, alpha, noncentrality(samples, middle)) >= wanted
        low, high = (low, middle) if enough else (middle, high)
    return high
