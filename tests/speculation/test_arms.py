"""The laws of the bandits, on arms whose rewards are known."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from laconic.speculation.arms import Explorer, Ledger, Pull

Reward = Callable[[int, random.Random], float]
"""Tokens that an arm writes in a round of one second; told the round."""


def bernoulli(share: float, high: float = 10.0) -> Reward:
    return lambda _, rng: high if rng.random() < share else 1.0


def play(ledger: Ledger, how: Explorer, arms: list[Reward], rounds: int, seed: int = 0) -> tuple[list[int], float]:
    """Arms pulled, and tokens that the best fixed arm would have written more, by the same luck."""
    rngs = [random.Random(1000 * seed + arm) for arm in range(len(arms))]
    ledger.rng = random.Random(seed)
    pulled, mine, each = [], 0.0, [0.0] * len(arms)
    for turn in range(rounds):
        pull = ledger.choose(how)
        drawn = [arm(turn, rng) for arm, rng in zip(arms, rngs, strict=True)]
        each = [total + reward for total, reward in zip(each, drawn, strict=True)]
        mine += drawn[pull.arm]
        pulled.append(pull.arm)
        ledger.credit(pull, drawn[pull.arm], 1.0, how)
    return pulled, max(each) - mine


UCB, EXP3 = Explorer("ucb", exploration=1.0), Explorer("exp3", even=0.05, learning=0.02)
ARMS = [bernoulli(0.3), bernoulli(0.6), bernoulli(0.45), bernoulli(0.2)]


@pytest.mark.parametrize("how", [UCB, EXP3], ids=["ucb", "exp3"])
def test_the_best_arm_is_found(how):
    shares = []
    for seed in range(10):
        pulled, _ = play(Ledger.of(4), how, ARMS, 4000, seed)
        shares.append(pulled[2000:].count(1) / 2000)
    assert sum(shares) / 10 > 0.7
    assert min(shares) > 0.25, "and so in every run, well above chance or nearly so"


def test_regret_grows_slower_than_time():
    def regret(how: Explorer, rounds: int, seeds: int) -> float:
        return sum(play(Ledger.of(4), how, ARMS, rounds, seed)[1] for seed in range(seeds)) / seeds

    # Sixteen times the rounds: a law of sqrt(t) gives 4, log(t) less, a fixed share of wrong pulls 16.
    assert regret(UCB, 16000, 6) < 6 * regret(UCB, 1000, 12)
    # EXP3 bounds its regret by sqrt(t) when exploration and learning fall with the horizon as 1 / sqrt(t).
    late, early = Explorer("exp3", even=0.05, learning=0.02), Explorer("exp3", even=0.2, learning=0.08)
    assert regret(late, 16000, 6) < 8 * regret(early, 1000, 12)


def test_exp3_holds_its_bound_where_the_best_arm_changes():
    """Arms that trade places, against one that is never bad: no fixed arm is better by more than sqrt(t) allows."""

    def swing(phase: int) -> Reward:
        return lambda turn, rng: 10.0 if (turn // 500 + phase) % 2 == 0 and rng.random() < 0.8 else 1.0

    arms = [swing(0), swing(1), bernoulli(0.55)]
    rounds = 6000
    for seed in range(5):
        pulled, regret = play(Ledger.of(3), EXP3, arms, rounds, seed)
        assert regret < 2.63 * 10 * math.sqrt(rounds * 3 * math.log(3)), "Auer et al. (2002), rewards in 0 .. 10"
        assert min(pulled.count(arm) for arm in range(3)) > 0.01 * rounds, "no arm is given up"


def test_exp3_follows_a_change_that_stays():
    arms: list[Reward] = [
        lambda turn, rng: 10.0 if rng.random() < (0.8 if turn < 1000 else 0.2) else 1.0,
        lambda turn, rng: 10.0 if rng.random() < (0.1 if turn < 1000 else 0.9) else 1.0,
    ]
    how = Explorer("exp3", even=0.1, learning=0.05)
    for seed in range(5):
        ledger = Ledger.of(2)
        pulled, _ = play(ledger, how, arms, 12000, seed)
        assert pulled[500:1000].count(0) > 400
        assert pulled[-1000:].count(1) > 600
        assert math.isfinite(sum(ledger.weights))
        assert max(ledger.weights) == 0


class SumOfPulls(Ledger):
    """The bonus of the authors' public code, the same for every arm."""

    def bonus(self, arm: int) -> float:
        return math.sqrt(2 * math.log(sum(self.pulls)) / sum(self.pulls))


def test_an_unlucky_first_pull_is_forgiven_where_pulls_are_counted_by_arm():
    arms: list[Reward] = [lambda *_: 5.0, lambda turn, _: 1.0 if turn < 5 else 8.0]
    pulled, _ = play(Ledger.of(2), UCB, arms, 2000)
    assert pulled[1000:].count(1) > 900
    planted, _ = play(SumOfPulls.of(2), UCB, arms, 2000)
    assert planted.count(1) == 2, "with a bonus that all arms share the better one is never tried again"


@pytest.mark.parametrize("how", [UCB, EXP3], ids=["ucb", "exp3"])
def test_every_arm_has_its_own_counts(how):
    ledger = Ledger.of(3)
    pulled, _ = play(ledger, how, ARMS[:3], 503)
    assert ledger.pulls == [pulled.count(arm) - 1 for arm in range(3)], "but for the first one"
    if how is UCB:
        widths = [ledger.bonus(arm) for arm in range(3)]
        assert widths == [math.sqrt(2 * math.log(500) / pulls) for pulls in ledger.pulls]
        assert len(set(widths)) == 3


def test_the_report_speaks_of_the_best_arm_in_hindsight():
    ledger = Ledger.of(3)
    for arm in range(3):
        ledger.credit(Pull(arm), 1, 100.0, UCB)
    assert ledger.report("abc") is None, "the first round of an arm sets up what later ones reuse"
    for arm, tokens, seconds in ((0, 10, 1.0), (1, 30, 1.0), (1, 50, 3.0), (2, 1, 1.0)):
        ledger.credit(Pull(arm), tokens, seconds, UCB)
    report = ledger.report("abc")
    assert (report["best"], report["rounds"], report["seconds"]) == ("b", 4, 6.0)
    assert report["regret_seconds"] == pytest.approx(6 - 91 / 20), "b writes 80 tokens in 4 seconds"
    assert [arm["pulls"] for arm in report["arms"]] == [1, 2, 1]
    assert "regret against b alone: 1.45 s, 24.2% of the time" in report["says"]
