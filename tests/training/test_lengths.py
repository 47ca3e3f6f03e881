"""Accuracy by length, and votes within lengths, worked out by hand."""

from __future__ import annotations

import math

import pytest

from laconic.bench.attempts.lengths import (
    Band,
    Try,
    best,
    entropy,
    filtered_vote,
    optimum,
    places,
    ranked,
    relative,
    shape,
    tries,
    vote,
)
from laconic.bench.attempts.recording import Recording, Written


def attempts(*told: tuple[int, str], right: str = "7") -> list[Try]:
    return [Try(length, answer == right, answer) for length, answer in told]


EASY = attempts((50, "7"), (100, "7"), (150, "8"))
HARD = attempts((500, "8"), (1000, "7"), (1500, "8"))


def test_attempts_are_read_from_recordings() -> None:
    written = [
        Written((), 30, 5, "", answer, finish, (), ())
        for answer, finish in (("12.0", "stop"), ("13", "stop"), ("", "length"))
    ]
    made = tries(Recording("chain_sum/0", "?", "12", tuple(written), 0, 0.0))
    assert made == [Try(30, True, "12.0"), Try(30, False, "13"), Try(30, False, "", cut=True)]


def test_bands_go_by_the_mean_of_the_problem() -> None:
    bands = relative([EASY, HARD], (0.75, 1.25))
    assert [(band.n, band.right) for band in bands] == [(2, 1), (2, 2), (2, 0)]
    assert [(band.low, band.high) for band in bands] == [(0.0, 0.75), (0.75, 1.25), (1.25, math.inf)]
    assert bands[1].tokens == 550
    assert bands[2].as_dict()["high"] is None


def test_ranks_part_each_problem_evenly() -> None:
    assert places(attempts((9, ""), (9, ""), (1, ""), (2, ""), (3, "")), 2) == [1, 1, 0, 0, 0]
    bands = ranked([EASY, HARD], 3)
    assert [(band.n, band.right) for band in bands] == [(2, 1), (2, 2), (2, 0)]
    assert best(bands).tokens == 550


@pytest.mark.parametrize(
    ("right", "told"),
    [((50, 90, 50), "inverted U"), ((88, 90, 50), "falls"), ((50, 90, 95), "rises"), ((88, 90, 88), "flat")],
)
def test_shapes(right: tuple[int, ...], told: str) -> None:
    assert shape([Band(at, at + 1, 100, each, 0.0) for at, each in enumerate(right)]) == told


def test_the_optimum_is_the_best_part_and_its_interval_holds_it() -> None:
    told = optimum([HARD] * 5 + [attempts((400, "8"), (800, "7"), (1200, "8"))] * 5, 3, draws=200)
    low, high = told["interval"]
    assert told["tokens"] == 900
    assert 800 <= low < 900 < high <= 1000


def test_a_filtered_vote_asks_those_who_agree() -> None:
    told = attempts((10, "8"), (11, "8"), (12, "8"), (13, "9"), (30, "7"), (31, "7.0"), (90, "8"), (95, "3"))
    groups = places(told, 2)
    assert vote(told) == "8"
    assert filtered_vote(told, [each.length // 25 for each in told], 1) == "7"
    assert filtered_vote(told, groups, 2) == vote(told)
    assert entropy(told[4:6]) == 0.0
    assert entropy(told[6:]) == pytest.approx(math.log(2))


def test_of_groups_that_agree_as_well_the_larger_votes() -> None:
    told = attempts((10, "8"), (30, "7"), (31, "7"))
    assert filtered_vote(told, [0, 1, 1], 1) == "7"
    assert filtered_vote(attempts((30, "7"), (10, "8")), [1, 0], 1) == "8"
    assert vote(attempts((1, ""))) == ""
