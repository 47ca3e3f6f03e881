"""The guarantee, by simulation: how often a promise is broken over 2,000 sets of calibration prompts.

A promise is broken where a setting passes whose true harm is not below the limit. At 95 % confidence that may happen in
5 % of the draws. Of 2,000 draws in which it happens with exactly that chance, more than ``MOST`` break a promise with
a chance below 1e-4: the chance that this file raises a false alarm is below that times its cases (below 0.5 %).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy.stats import binom

from laconic.bench.harm.sequence import fixed_sequence

DRAWS, LIMIT, CONFIDENCE = 2_000, 0.02, 0.95
MOST = int(binom.ppf(1 - 1e-4, DRAWS, 1 - CONFIDENCE))
SIZES = (149, 523, 782)
"""Prompts: the fewest that can promise anything, and numbers at which one test errs in just below 5 % of cases."""

Draw = Callable[[np.random.Generator, Sequence[float], int], list[int]]


def nested(rng: np.random.Generator, rates: Sequence[float], n: int) -> list[int]:
    """Harms of ``n`` prompts at every setting: who is harmed by one is harmed by all bolder ones, as exits go."""
    bears = rng.random(n)
    return [int((bears < rate).sum()) for rate in rates]


def apart(rng: np.random.Generator, rates: Sequence[float], n: int) -> list[int]:
    """The same with settings that have nothing to do with each other."""
    return [int(rng.binomial(n, rate)) for rate in rates]


def opposed(rng: np.random.Generator, rates: Sequence[float], n: int) -> list[int]:
    """The same where each setting harms the prompts that its neighbours spare."""
    bears = rng.random(n)
    return [int((((bears + 0.37 * i) % 1) < rate).sum()) for i, rate in enumerate(rates)]


def broken(rates: Sequence[float], n: int, draw: Draw, choose: Callable[..., list[int]] = fixed_sequence) -> int:
    """In how many draws a setting passes that is no better than the limit."""
    rng, count = np.random.default_rng(20_26), 0
    for _ in range(DRAWS):
        harms = draw(rng, rates, n)
        passed = choose(range(len(rates)), harms.__getitem__, n, LIMIT, CONFIDENCE)
        count += any(rates[setting] >= LIMIT for setting in passed)
    return count


NULLS = {
    "all at the limit": [LIMIT] * 8,
    "all just above it": [1.05 * LIMIT] * 8,
    "the first that is unsafe at it": [0.0, 0.0, 0.001, LIMIT, LIMIT, 0.03, 0.1],
    "near it, then at it": [0.004, 0.008, 0.9 * LIMIT, LIMIT, 1.5 * LIMIT],
    "one alone": [LIMIT],
}


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("draw", [nested, apart, opposed])
@pytest.mark.parametrize("rates", NULLS.values(), ids=NULLS)
def test_promises_are_kept_as_often_as_is_said(rates: Sequence[float], draw: Draw, n: int) -> None:
    assert broken(rates, n, draw) <= MOST


def test_the_bound_is_used_up_where_it_can_be() -> None:
    """With safe settings before it, the first unsafe one passes as often as its own test lets it."""
    level = float(binom.cdf(9, 782, LIMIT))  # 9 harms are the most that pass
    assert 0.0499 < level <= 0.05
    found = broken([0.0, 0.0, LIMIT], 782, nested)
    assert binom.ppf(1e-4, DRAWS, level) <= found <= binom.ppf(1 - 1e-4, DRAWS, level)


def test_choosing_by_what_was_seen_would_be_caught() -> None:
    """The very check above, on the boldest setting whose observed harm is below the limit, or that passes by itself."""

    def seen(settings: Sequence[int], harms: Callable[[int], int], n: int, limit: float, _: float) -> list[int]:
        return [setting for setting in settings if harms(setting) / n < limit]

    def alone(settings: Sequence[int], harms: Callable[[int], int], n: int, limit: float, sure: float) -> list[int]:
        return [setting for setting in settings if fixed_sequence([setting], harms, n, limit, sure)]

    assert broken(NULLS["all at the limit"], 782, nested, seen) > 5 * MOST
    assert broken(NULLS["all at the limit"], 782, apart, alone) > 4 * MOST


def test_what_is_harmless_is_promised() -> None:
    rng = np.random.default_rng(1)
    rates = [0.0, 0.0005, 0.004, 0.03]
    passed = [len(fixed_sequence(rates, dict(zip(rates, nested(rng, rates, n), strict=True)).__getitem__, n, LIMIT,
                                 CONFIDENCE)) for n in (149, 1000) for _ in range(200)]  # fmt: skip
    few, many = passed[:200], passed[200:]
    assert min(few) >= 1, "what harms nobody is promised even by the fewest prompts"
    assert sum(count == 3 for count in many) >= 0.99 * 200, "all that is well below the limit, with enough of them"
    assert max(many) == 3
