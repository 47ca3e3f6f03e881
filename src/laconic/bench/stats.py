"""The few statistics that a comparison needs: intervals for medians and ratios, and a fair order of runs."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def bootstrap_median(values: Sequence[float], *, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the median; the same for the same values and seed.

    Raises ValueError without values.
    """
    if not values:
        raise ValueError("no values to take a median of")
    rng = random.Random(seed)
    medians = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(draws))
    return medians[int(0.025 * (draws - 1))], medians[math.ceil(0.975 * (draws - 1))]


def rotation(variants: Sequence[T], turn: int) -> list[T]:
    """The order of a turn: A B C, B C A, C A B, A B C ... Each variant runs first, second ... equally often."""
    start = turn % len(variants)
    return [*variants[start:], *variants[:start]]


def bootstrap_ratio(
    pairs: Sequence[tuple[float, float]], *, draws: int = 1000, seed: int = 0
) -> tuple[float, float] | None:
    """95 % percentile bootstrap interval of sum(a) / sum(b) over pairs (a, b); None if the b of a draw sum to 0."""
    rng = random.Random(seed)
    ratios = []
    for _ in range(draws):
        drawn = rng.choices(pairs, k=len(pairs))
        below = sum(b for _, b in drawn)
        if below == 0:
            return None
        ratios.append(sum(a for a, _ in drawn) / below)
    ratios.sort()
    return ratios[int(0.025 * (draws - 1))], ratios[math.ceil(0.975 * (draws - 1))]
