"""The few statistics that a comparison needs: intervals for medians and ratios, and a fair order of runs."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def bootstrap(
    items: Sequence[T], statistic: Callable[[Sequence[T]], float], *, draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile bootstrap interval of a statistic of ``items``; the same for the same items and seed.

    Raises ValueError without items.
    """
    if not items:
        raise ValueError("no values to draw from")
    rng = random.Random(seed)
    found = sorted(statistic(rng.choices(items, k=len(items))) for _ in range(draws))
    return found[int(0.025 * (draws - 1))], found[math.ceil(0.975 * (draws - 1))]


def bootstrap_median(values: Sequence[float], *, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Interval of the median. Raises ValueError without values."""
    return bootstrap(values, statistics.median, draws=draws, seed=seed)


def bootstrap_ratio(
    pairs: Sequence[tuple[float, float]], *, draws: int = 1000, seed: int = 0
) -> tuple[float, float] | None:
    """Interval of sum(a) / sum(b) over pairs (a, b); None if the b of a draw sum to 0."""
    try:
        return bootstrap(pairs, ratio, draws=draws, seed=seed)
    except ZeroDivisionError:
        return None


def ratio(pairs: Sequence[tuple[float, float]]) -> float:
    """Sum of the first over sum of the second of each pair."""
    return sum(a for a, _ in pairs) / sum(b for _, b in pairs)


def rotation(variants: Sequence[T], turn: int) -> list[T]:
    """The order of a turn: A B C, B C A, C A B, A B C ... Each variant runs first, second ... equally often."""
    start = turn % len(variants)
    return [*variants[start:], *variants[:start]]
