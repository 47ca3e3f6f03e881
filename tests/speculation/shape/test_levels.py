"""Trees grown by levels hold the likeliest paths, found by brute force on small vocabularies."""

from __future__ import annotations

import itertools

import pytest
import torch

from laconic.speculation.base import Go, Tools
from tests.fakes import FakeModel
from tests.speculation.rounds import build, context_of
from tests.speculation.shape.test_shapes import Row, grow, rows_of
from tests.speculation.shape.test_trees import context, random_rows

VOCAB = 3


def paths_of(tree):
    """The path of tokens down to every node."""
    paths = []
    for token, parent in zip(tree.tokens, tree.parents, strict=True):
        paths.append((*(paths[parent] if parent >= 0 else ()), token))
    return paths


def chances(model, depth):
    """Probability of every path of up to ``depth`` tokens after 1, 2."""
    law = {}
    for length in range(1, depth + 1):
        for path in itertools.product(range(model.vocab_size), repeat=length):
            row = model.after([1, 2, *path[:-1]]).softmax(-1)
            law[path] = (law[path[:-1]] if length > 1 else 1.0) * float(row[path[-1]])
    return law


def best_value(law, budget):
    """Largest sum of chances over all trees of ``budget`` nodes, every set of paths tried."""
    sets = {frozenset()}
    for _ in range(budget):
        sets = {held | {path} for held in sets for path in law if path not in held and path[:-1] in {(), *held}}
    return max(sum(law[path] for path in held) for held in sets)


@pytest.mark.parametrize("shape", ["opt-tree:delta=0", "best-first:per_pass=1", "best-first:per_level=9,depth=9",
                                   "dyspec:per_pass=1"])  # fmt: skip
def test_brute_force(shape):
    for seed in range(4):
        model = FakeModel.random(seed, VOCAB, sharpness=1.5)
        law = chances(model, 4)
        for budget in range(1, 5):
            tree, _ = grow(shape, budget, rows_of(model), context("greedy"))
            assert sum(law[path] for path in paths_of(tree)) == pytest.approx(best_value(law, budget), abs=1e-6)


@pytest.mark.parametrize("how", ["greedy", "sample", "foresee"])
def test_levels_find_what_single_steps_find_in_fewer_passes(how):
    for seed in range(10):
        steps, many = grow("best-first:per_pass=1,top_k=6", 20, random_rows(seed), context(how))
        for shape in ("opt-tree:delta=0", "best-first:per_level=20,top_k=6,depth=20"):
            levels, few = grow(shape, 20, random_rows(seed), context(how))
            assert paths_of(levels) == paths_of(steps)
            assert len(few) < len(many)


def test_the_tree_stops_where_a_level_adds_too_little():
    rows = {-1: Row([0.9, 0.1]), 0: Row([0.8, 0.2]), 1: Row([0.5, 0.5])}
    sure = lambda node, nodes: rows.get(node, Row([0.5, 0.5]))  # noqa: E731
    # Levels add at most 1.0 and 0.8 * 0.9 with two nodes; then 0.36 would follow.
    for delta, passes in ((0.0, 2), (0.7, 2), (0.8, 2), (1.1, 1)):
        assert len(grow(f"opt-tree:delta={delta}", 2, sure, context("greedy"))[1]) == passes
    gains = [
        len(grow(f"opt-tree:delta={delta}", 9, sure, context("greedy"))[1]) for delta in (0.0, 0.3, 0.6, 0.95, 1.1)
    ]
    assert gains == sorted(gains, reverse=True)
    assert gains[-1] == 1
    assert gains[0] > gains[2]


def test_few_are_expanded_in_each_level():
    _, asked = grow("best-first:per_level=2,top_k=3,depth=3", 20, random_rows(1), context("greedy"))
    assert [len(nodes) for nodes in asked] == [1, 2, 2]


def test_policies_are_asked_about_what_is_kept_in_its_order():
    asked = []
    tree, _ = grow("opt-tree:delta=0", 9, random_rows(7), context("greedy"), lambda node: asked.append(node) or Go.ON)
    values = [node.path * node.confidence for node in asked]
    assert len(asked) == len(tree)
    assert values == sorted(values, reverse=True)
    assert [node.depth for node in asked] == [len(path) - 1 for path in paths_of(tree)]


@pytest.mark.parametrize("shape", ["opt-tree:delta=0", "best-first:per_level=3", "k-ary:2/2", "dyspec"])
def test_rows_stay_with_their_nodes(shape):
    draft = FakeModel.random(5)
    drafter = build("drafter", "draft-model")
    state = drafter.start(context_of([1, 2]), Tools(draft, build("shape", shape), 8))
    tree = drafter.propose([state], [12], [None])[0]
    assert len(tree.rows) > 2
    for node, row in tree.rows.items():
        path = paths_of(tree)[node] if node >= 0 else ()
        assert torch.allclose(row.probs, draft.after([1, 2, *path]).softmax(-1))
