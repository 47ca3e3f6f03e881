"""Successive halving on scripted scores: the best survives, the cost stays small, nothing is asked twice."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from laconic.bench.tune.halving import halve, schedule


def search(true: dict[str, float], problems: int, noise: float, seed: int = 0) -> tuple[str, int]:
    rng = random.Random(seed)
    asked: set[tuple[str, int]] = set()

    def ask(names: Sequence[str], at: int) -> dict[str, float]:
        assert not asked & {(name, at) for name in names}
        asked.update((name, at) for name in names)
        size = rng.uniform(0.5, 2.0)  # problems differ, and all candidates meet the same one
        return {name: true[name] * size * rng.uniform(1 - noise, 1 + noise) for name in names}

    ledger = halve(
        list(true), problems, ask, lambda scores: sorted(scores, key=lambda n: sum(scores[n])), keep=("plain",)
    )
    assert ledger.runs == len(asked)
    assert len(ledger.scores["plain"]) == problems
    done = [name for name, scores in ledger.scores.items() if len(scores) == problems]
    return min(done, key=lambda name: sum(ledger.scores[name])), ledger.runs


def test_the_best_is_found_at_a_third_of_the_cost() -> None:
    true = {"plain": 1.0} | {f"c{i}": 0.4 + 0.03 * i for i in range(15)}
    for seed in range(20):
        best, runs = search(true, 64, noise=0.2, seed=seed)
        assert true[best] <= 0.43
        assert runs <= 16 * 64 / 3


def test_plain_decoding_stays_and_may_win() -> None:
    best, _ = search({"plain": 0.5, "a": 1.0, "b": 1.1, "c": 1.2}, 16, noise=0.1)
    assert best == "plain"


@pytest.mark.parametrize(("candidates", "problems"), [(1, 5), (2, 1), (3, 3), (16, 64), (25, 10), (7, 1000)])
def test_rounds_grow_to_all_problems(candidates: int, problems: int) -> None:
    sizes = schedule(candidates, problems)
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == problems
    assert sizes[0] >= min(4, problems)
    names = {str(i): 1.0 for i in range(candidates)}
    _, runs = search({"plain": 2.0} | names, problems, noise=0.0)
    assert runs <= (candidates + 1) * problems
