"""Selectors on rows small enough to be worked out by hand."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, cast

import pytest

from laconic.errors import InvalidKnob, TraceError
from laconic.policy import registry
from laconic.training.traces.base import Fact, Selector, room
from laconic.training.traces.selectors.select2reason import ranks


def facts(*rows: tuple[float | None, int]) -> list[Fact]:
    """Rows by pass rate and tokens."""
    return [Fact(at, rate, 4, 2 * tokens, tokens, 3 * tokens) for at, (rate, tokens) in enumerate(rows)]


def choose(spec: str, rows: list[Fact], seed: int = 0) -> list[int]:
    return cast(Selector, registry.build("selector", spec)).choose(rows, random.Random(seed))


def test_a_share_is_one_row_at_least() -> None:
    assert [room(rows, 0.1) for rows in (0, 1, 9, 26, 200)] == [0, 1, 1, 3, 20]


def test_random_subsets() -> None:
    rows = facts(*[(1.0, 1)] * 8)
    drawn = [choose("random-subset:0.25", rows, seed) for seed in range(300)]
    assert all(len(set(found)) == 2 and found == sorted(found) for found in drawn)
    counts = Counter(at for found in drawn for at in found)
    assert set(counts) == set(range(8))
    assert max(counts.values()) < 2 * min(counts.values())  # 75 each on average, with a deviation of 7.5


def test_ranks_share_ties() -> None:
    assert ranks([1.0, 2.0, 3.0]) == [0.0, 0.5, 1.0]
    assert ranks([2.0, 2.0, 2.0]) == [0.5, 0.5, 0.5]
    assert ranks([5.0, 1.0, 5.0, 0.0]) == pytest.approx([2.5 / 3, 1 / 3, 2.5 / 3, 0.0])
    assert ranks([7.0]) == [0.0]


def test_select2reason_weighs_difficulty_and_length() -> None:
    rows = facts((1.0, 400), (0.25, 100), (0.5, 300), (0.75, 200))
    # ranks by difficulty 0, 1, 2/3, 1/3; by length 1, 0, 2/3, 1/3
    assert choose("select2reason:weight=1,share=0.5", rows) == [1, 2]
    assert choose("select2reason:weight=0,share=0.5", rows) == [0, 2]
    assert choose("select2reason:weight=0.5,share=0.25", rows) == [2]
    with pytest.raises(InvalidKnob, match="weight"):
        choose("select2reason", rows)


def test_adaptive_draws_fewer_of_the_harder() -> None:
    rates = [1.0] * 10 + [0.7] * 10 + [0.5] * 10 + [0.25] * 2 + [0.0] * 10
    found = choose("adaptive:weights=5/4/3/2/1,share=0.3571429", facts(*[(rate, 1) for rate in rates]))
    # 42 rows, of which 15 are asked for: 5, 4, 3, 2 and 1, by steps of a fifth
    assert Counter(rates[at] for at in found) == {1.0: 5, 0.7: 4, 0.5: 3, 0.25: 2, 0.0: 1}
    assert found == sorted(set(found))
    whole = choose("adaptive:weights=1/0,share=1", facts((1.0, 1), (0.51, 1), (0.5, 1), (0.0, 1)))
    assert whole == [0, 1]  # nothing takes the place of the hard ones
    with pytest.raises(TraceError, match="all weights"):
        choose("adaptive:weights=0/0", facts((1.0, 1)))


def test_light_r1_keeps_what_is_not_reliably_solved() -> None:
    rows = facts((1.0, 1), (0.5, 1), (0.75, 1), (0.25, 1))
    assert choose("light-r1:0.5", rows) == [1, 3]
    assert choose("light-r1:0.1", rows) == []


@pytest.mark.parametrize(
    "spec", ["random-subset:0", "random-subset:1.1", "adaptive:5", "light-r1:1", "select2reason:2"]
)
def test_knobs_that_cannot_be(spec: str) -> None:
    with pytest.raises(InvalidKnob):
        cast(Any, registry).build("selector", spec)
