import math
import random
import statistics

import pytest

from laconic.bench.stats import bootstrap, bootstrap_median, bootstrap_ratio, rotation


def test_bootstrap_median_holds_the_true_median():
    # 200 intervals at 95 % from 41 lognormal values each: fewer than 175 hits has probability below 1e-5 (binomial).
    rng = random.Random(5)
    hits = 0
    for seed in range(200):
        low, high = bootstrap_median([rng.lognormvariate(0, 1) for _ in range(41)], draws=200, seed=seed)
        hits += low <= 1.0 <= high
    assert hits >= 175


def test_bootstrap_is_repeatable_and_refuses_nothing():
    values = [1.0, 2.0, 5.0, 9.0]
    assert bootstrap_median(values) == bootstrap_median(values)
    low, high = bootstrap_median(values)
    assert low <= statistics.median(values) <= high
    with pytest.raises(ValueError, match="no values"):
        bootstrap_median([])


def test_bootstrap_takes_any_statistic_of_anything():
    low, high = bootstrap([(x, "word") for x in range(100)], lambda some: statistics.mean(x for x, _ in some))
    error = 28.87 / 10  # of the mean of 100 even draws from 0 to 99
    assert low == pytest.approx(49.5 - 1.96 * error, abs=0.8)
    assert high == pytest.approx(49.5 + 1.96 * error, abs=0.8)


def test_ratio_interval():
    assert bootstrap_ratio([(1, 2), (2, 4), (5, 10)]) == (0.5, 0.5)
    assert bootstrap_ratio([(1, 0), (2, 0)]) is None
    low, high = bootstrap_ratio([(1, 2), (3, 4), (9, 10)])
    assert 0.5 <= low < 13 / 16 < high <= 0.9


def test_every_variant_runs_in_every_place_equally_often():
    turns = [rotation("ABC", turn) for turn in range(9)]
    assert turns[0] == ["A", "B", "C"]
    assert turns[1] == ["B", "C", "A"]
    for place in range(3):
        assert all([turn[place] for turn in turns].count(name) == 3 for name in "ABC")
    assert math.prod(len(set(turn)) for turn in turns) == 3**9
