"""The G test by itself, on draws from laws that are known exactly."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from laconic.bench.certify import chisquare, gtest
from laconic.bench.certify.gtest import Table, g_statistic, sequential, sizes

EVEN = {"a": 0.3, "b": 0.25, "c": 0.2, "d": 0.15, "e": 0.1}


class Draws:
    """A source that draws from ``real`` and claims ``law``."""

    def __init__(self, seed: int, law: dict[str, float], real: dict[str, float] | None = None) -> None:
        self.law, self.real = law, real or law
        self.rng, self.counts = random.Random(seed), Counter()

    @property
    def tables(self) -> list[Table]:
        return [Table(self.law, self.counts)]

    def draw_until(self, total: int) -> None:
        count = total - self.counts.total()
        self.counts.update(self.rng.choices(list(self.real), list(self.real.values()), k=count))


def shifted(distance: float) -> dict[str, float]:
    """EVEN with ``distance`` of its mass moved in the way that is hardest to see: between two equal halves."""
    up, down = ("a", "c"), ("b", "d", "e")
    return {c: p * (1 + distance / sum(EVEN[x] for x in (up if c in up else down)) * (1 if c in up else -1))
            for c, p in EVEN.items()}  # fmt: skip


def test_chi_square_tail_against_known_values():
    # Abramowitz and Stegun, table 26.8; with two degrees of freedom the tail is exp(-x / 2)
    for freedom, share, x in ((1, 0.05, 3.84146), (10, 0.01, 23.2093), (30, 0.001, 59.703)):
        assert chisquare.tail(x, freedom) == pytest.approx(share, rel=1e-4)
        assert chisquare.quantile(share, freedom) == pytest.approx(x, rel=1e-4)
    assert chisquare.tail(80, 2) == pytest.approx(math.exp(-40), rel=1e-9)
    assert chisquare.tail(0, 3) == 1.0
    assert chisquare.tail(math.inf, 3) == 0.0


def test_power_against_known_values():
    # One degree of freedom is a two-sided normal test: with z = 1.95996, shift 2.80 gives power 0.80 (Cohen 1988).
    assert chisquare.power(1, 0.05, 2.8016**2) == pytest.approx(0.80, abs=2e-3)
    assert chisquare.power(5, 0.01, 0.0) == 0.01
    n = 1000
    least = chisquare.detectable(4, 1e-3, n)
    assert chisquare.power(4, 1e-3, chisquare.noncentrality(n, least)) == pytest.approx(0.9, abs=1e-4)
    assert chisquare.detectable(4, 1e-3, 1) == 1.0


def test_g_statistic_by_hand():
    g, freedom = g_statistic(Table({"x": 0.5, "y": 0.5}, {"x": 60, "y": 40}))
    raw = 2 * (60 * math.log(1.2) + 40 * math.log(0.8))
    assert freedom == 1
    assert g == pytest.approx(raw / (1 + 3 / 600))


def test_rare_cells_are_pooled_and_impossible_ones_sound_at_once():
    law = {"x": 0.9, **{f"r{i}": 0.01 for i in range(10)}}
    g, freedom = g_statistic(Table(law, {"x": 90, "r0": 10}))
    assert freedom == 1  # ten cells of expectation one became one cell of ten
    assert g == pytest.approx(0.0, abs=1e-12)
    assert g_statistic(Table({"x": 1.0}, {"x": 50})) == (0.0, 0)
    assert g_statistic(Table({"x": 1.0, "y": 0.0}, {"x": 50, "y": 1}))[0] == math.inf
    assert gtest.finding(0, 0, [Table({"x": 1.0}, {"x": 50, "z": 1})]).p == 0.0
    assert sizes(800, 4) == [100, 200, 400, 800]
    assert sizes(2, 4) == [1, 2]


def test_false_alarms_stay_below_the_stated_rate():
    # 300 correct sources x 2 temperatures x 2 contexts at 0.05 overall: at most 15 expected. More than 30 alarms
    # would have probability below 1e-4 if the rate were as high as stated.
    alarms = 0
    for run in range(300):
        groups = [[Draws(4 * run + 2 * g + s, EVEN) for s in range(2)] for g in range(2)]
        alarms += sequential(groups, sizes(320, 3), 0.05).alarm is not None
    assert 0 < alarms <= 30


def test_a_bias_is_noticed_as_often_as_stated():
    # One context, one look: the stated power is that of the hardest bias of this distance, and is reached.
    distance, n, alpha = 0.1, 400, 0.01
    stated = chisquare.power(len(EVEN) - 1, alpha, chisquare.noncentrality(n, distance))
    assert 0.5 < stated < 0.98
    caught = sum(
        sequential([[Draws(run, EVEN, shifted(distance))]], [n], alpha).alarm is not None for run in range(300)
    )
    assert caught / 300 == pytest.approx(stated, abs=4 * math.sqrt(stated * (1 - stated) / 300))


def test_contexts_add_up_and_stop_early():
    weak = [[Draws(10 * run, EVEN, shifted(0.12)) for run in range(6)]]
    outcome = sequential(weak, sizes(320, 4), 1e-3)
    assert outcome.alarm is not None
    assert outcome.alarm.source is None  # no context alone told it
    assert outcome.pooled(0).p < outcome.alpha
    strong = sequential([[Draws(1, EVEN, shifted(0.4))]], sizes(3200, 4), 1e-3)
    assert strong.alarm is not None
    assert strong.looks == 1
    assert strong.alarm.samples == 400
    assert sequential([[Draws(1, EVEN)]], sizes(320, 4), 1e-3).alarm is None
