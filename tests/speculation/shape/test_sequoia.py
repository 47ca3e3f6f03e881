"""The optimal fixed tree against brute force over all trees, and the measurement that it rests on."""

from __future__ import annotations

import functools
import itertools
import random

import pytest

from laconic.errors import InvalidKnob
from laconic.speculation.base import TokenTree, Verdict
from laconic.speculation.shape.optimal import Optimum, acceptance_by_rank
from tests.speculation.rounds import build
from tests.speculation.shape.test_shapes import grow
from tests.speculation.shape.test_trees import context, random_rows


def size(plan):
    """Nodes below the root."""
    return sum(1 + size(child) for child in plan)


def depth(plan):
    """Levels below the root: draft passes that it takes to grow it."""
    return max((1 + depth(child) for child in plan), default=0)


@functools.cache
def all_plans(nodes):
    """Every ordered tree with so many nodes below the root."""
    if nodes == 0:
        return [()]
    return [
        (first, *rest) for given in range(nodes) for first in all_plans(given) for rest in all_plans(nodes - 1 - given)
    ]


def worth(plan, by_rank):
    """Expected accepted tokens, summed over nodes; a child beyond the known ranks is never accepted."""
    chance = itertools.chain(by_rank, itertools.repeat(0.0))
    return sum(p * (1 + worth(child, by_rank)) for p, child in zip(chance, plan, strict=False))


@pytest.mark.parametrize("levels", [1, 2, 3, 7])
def test_brute_force(levels):
    rng = random.Random(levels)
    for _ in range(6):
        by_rank = [rng.random() * rng.random() for _ in range(rng.randint(1, 4))]  # in any order
        optimum = Optimum(by_rank, 7, levels)
        for nodes in range(8):
            best = max(worth(p, by_rank) for n in range(nodes + 1) for p in all_plans(n) if depth(p) <= levels)
            plan = optimum.plan(nodes, levels)
            assert size(plan) <= nodes
            assert depth(plan) <= levels
            assert worth(plan, by_rank) == pytest.approx(best)
            assert optimum.worth[levels, nodes] == pytest.approx(best)


def test_a_sure_drafter_gets_a_chain_and_an_unsure_one_gets_branches():
    sure, unsure = build("shape", "sequoia:acceptance=0.99/0.001"), build("shape", "sequoia:acceptance=0.4/0.3/0.2")
    assert depth(sure.plan(8)) == 8
    assert len(unsure.plan(8)) == 3
    assert all(size(shape.plan(n)) == n for shape in (sure, unsure) for n in range(9))
    assert depth(build("shape", "sequoia:acceptance=0.99/0.001,depth=3").plan(8)) == 3


def test_the_tree_has_the_planned_form():
    shape = build("shape", "sequoia:acceptance=0.5/0.3/0.1")
    for how in ("greedy", "sample"):
        tree, asked = grow("sequoia:acceptance=0.5/0.3/0.1", 12, random_rows(1), context(how))
        assert len(tree) == 12
        assert len(asked) == depth(shape.plan(12))
        assert list(tree.parents).count(-1) == len(shape.plan(12))


def test_told_what_passes_cost_it_takes_the_fastest_size():
    by_rank, times, draft = [0.7, 0.2], [1.0, 1.1, 1.3, 2.0, 4.0], 0.1
    shape = build("shape", "sequoia:acceptance=0.7/0.2,pass_times=1/1.1/1.3/2/4,draft_time=0.1")

    def cost(nodes):
        return next(
            times[i] + (nodes - 2**i) / 2**i * (times[i + 1] - times[i])
            for i in range(4)
            if 2**i <= nodes <= 2 ** (i + 1)
        )

    def rate(plan):
        return (1 + worth(plan, by_rank)) / (cost(1 + size(plan)) + depth(plan) * draft)

    best = max(rate(plan) for n in range(9) for plan in all_plans(n) if len(plan) <= 2)
    assert rate(shape.plan(8)) == pytest.approx(best)
    assert 0 < size(shape.plan(8)) < 8
    assert size(build("shape", "sequoia:acceptance=0.7/0.2,draft_time=5").plan(8)) == 0
    assert size(build("shape", "sequoia:pass_times=1/1/1").plan(8)) == 3, "passes over more than 4 nodes are not known"


def test_acceptance_by_rank_counts_children_that_the_walk_came_to():
    tree = TokenTree([5, 6, 7, 8], [-1, -1, 0, 1])
    verdicts = [Verdict(tree, [1], 9), Verdict(tree, [0, 2], 9), Verdict(tree, [], 9)]
    # First children: 5 (taken once of 3), 7 (taken of 1), 8 (refused): 2 of 5. Second: 6, taken once of 3.
    assert acceptance_by_rank(verdicts, 3) == [pytest.approx(2 / 5), pytest.approx(1 / 3), 0.0]


def test_bad_knobs():
    for spec in (
        "sequoia:acceptance=1.5",
        "sequoia:acceptance=",
        "k-ary:0",
        "k-ary:branching=",
        "stochastic-beam:width=0",
    ):
        with pytest.raises(InvalidKnob):
            build("shape", spec)
