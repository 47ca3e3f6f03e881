"""The binomial tests against scipy, and against their own definitions."""

from __future__ import annotations

import math

import pytest
from scipy.stats import beta, binom

from laconic.bench.harm.sequence import MOST_SOUGHT, allowed, at_most, fewest, fewest_at, fixed_sequence, passes, upper

CASES = [(k, n) for n in (1, 2, 7, 59, 299, 1000, 20_000) for k in (0, 1, 2, 5, 17, 100, 999) if k <= n]


@pytest.mark.parametrize("rate", [1e-4, 0.01, 0.05, 0.3, 0.5, 0.97])
def test_the_tail_is_that_of_the_binomial(rate: float) -> None:
    for k, n in CASES:
        assert at_most(k, n, rate) == pytest.approx(float(binom.cdf(k, n, rate)), rel=1e-8, abs=1e-300), (k, n)
    assert at_most(-1, 10, rate) == 0.0


def test_the_tail_at_its_ends() -> None:
    assert at_most(0, 10, 0.0) == at_most(10, 10, 1.0) == at_most(3, 3, 0.5) == 1.0
    assert at_most(9, 10, 1.0) == 0.0


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
def test_the_bound_is_that_of_clopper_and_pearson(confidence: float) -> None:
    for k, n in CASES:
        right = 1.0 if k == n else float(beta.ppf(confidence, k + 1, n - k))
        assert upper(k, n, confidence) == pytest.approx(right, abs=1e-9), (k, n)


def test_a_setting_passes_where_its_bound_is_below_the_limit() -> None:
    for k, n in CASES:
        for limit in (0.005, 0.01, 0.1):
            assert passes(k, n, limit, 0.95) == (upper(k, n, 0.95) <= limit), (k, n, limit)


@pytest.mark.parametrize(("limit", "confidence"), [(0.01, 0.95), (0.02, 0.95), (0.05, 0.9), (0.001, 0.99), (0.5, 0.5)])
def test_prompts_that_it_takes(limit: float, confidence: float) -> None:
    assert fewest(limit, confidence) == math.ceil(math.log(1 - confidence) / math.log(1 - limit))
    for harms in (0, 1, 4, 30):
        n = fewest(limit, confidence, harms)
        assert passes(harms, n, limit, confidence)
        assert not passes(harms, n - 1, limit, confidence)
        assert allowed(n, limit, confidence) == harms
        assert allowed(n - 1, limit, confidence) == harms - 1
    assert (fewest(0.01, 0.95), fewest(0.02, 0.95)) == (299, 149)


def test_prompts_that_it_takes_at_a_rate() -> None:
    assert fewest_at(0.0, 0.01, 0.95) == 299
    for rate in (0.001, 0.004, 0.007, 0.009):
        n = fewest_at(rate, 0.01, 0.95)
        assert n is not None
        harms = allowed(n, 0.01, 0.95)
        assert rate * n <= harms, "so many prompts forgive the rate"
        assert rate * fewest(0.01, 0.95, harms - 1) > harms - 1, "and no fewer do"
    assert fewest_at(0.01, 0.01, 0.95) is fewest_at(0.5, 0.01, 0.95) is None
    assert fewest_at(0.009999, 0.01, 0.95) is None
    assert 100_000 < (fewest_at(0.0095, 0.01, 0.95) or 0) < MOST_SOUGHT


def test_nothing_is_looked_at_after_the_first_that_fails() -> None:
    harms, asked = {"a": 0, "b": 1, "c": 40, "d": 0}, []

    def count(name: str) -> int:
        asked.append(name)
        return harms[name]

    assert fixed_sequence(harms, count, 600, 0.01, 0.95) == ["a", "b"]
    assert asked == ["a", "b", "c"]
    assert fixed_sequence(["c", "a"], harms.__getitem__, 600, 0.01, 0.95) == []
