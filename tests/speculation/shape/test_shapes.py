"""Tree shapes: what they ask for and when they stop."""

from __future__ import annotations

import pytest
import torch

from laconic.speculation.base import Go, Grown
from laconic.speculation.draws import Draws
from laconic.types import Sampling
from tests.speculation.rounds import build, context_of


class Row:
    """A fixed row."""

    def __init__(self, probs, known=True):
        self._probs = torch.tensor(probs)
        self.best = int(self._probs.argmax()) if self._probs.sum() > 0 else None
        self.confidence = float(self._probs.max())
        self.probs = self._probs if known else None

    def top(self, k):
        values, tokens = self._probs.topk(min(k, len(self._probs)))
        return [(t, p) for t, p in zip(tokens.tolist(), values.tolist(), strict=True) if p > 0]


def path_to(node, nodes):
    """Tokens down to ``node``."""
    path = []
    while node != -1:
        path.append(nodes.tokens[node])
        node = nodes.parents[node]
    return path[::-1]


def rows_of(model):
    """What a model says after 1, 2 and the path down to a node."""
    return lambda node, nodes: Row(model.after([1, 2, *path_to(node, nodes)]).softmax(-1).tolist())


def grow(shape, budget, row_of, context=None, judge=None):
    """Run a shape; ``row_of(node, nodes)`` answers. Returns the tree and the yields."""
    nodes, asked = Grown(), []
    growing = build("shape", shape).grow(nodes, budget, context or context_of([1, 2]), judge)
    rows = None
    while True:
        try:
            wanted = next(growing) if rows is None else growing.send(rows)
        except StopIteration as end:
            return end.value, asked
        assert all(node < len(nodes.tokens) for node in wanted)
        asked.append(list(wanted))
        rows = [row_of(node, nodes) for node in wanted]


@pytest.mark.parametrize("known", [True, False])
def test_a_greedy_or_unknown_chain_takes_the_best(known):
    sampling = Sampling() if known else Sampling(temperature=1.0)
    tree, asked = grow("chain", 3, lambda *_: Row([0.2, 0.5, 0.3], known), context_of([1], sampling))
    assert (list(tree.tokens), list(tree.parents), tree.draft_probs) == ([1, 1, 1], [-1, 0, 1], None)
    assert asked == [[-1], [0], [1]]


def test_a_chain_ends_where_nothing_is_known():
    tree, _ = grow("chain", 5, lambda node, _: Row([0.0, 1.0] if node < 1 else [0.0, 0.0]))
    assert len(tree) == 2


def test_the_judge_is_asked_before_the_token_is_drawn():
    events = []

    class Watched(Draws):
        def pick(self, probs, position, stream=Draws.TOKEN, sub=0):
            events.append(("draw", sub))
            return super().pick(probs, position, stream, sub)

    context = context_of([1, 2], Sampling(temperature=1.0))
    context.draws = Watched(0)

    def judge(node):
        events.append(("judge", node.depth))
        assert not hasattr(node, "token")
        return Go.STOP if node.depth == 2 else Go.ON

    tree, _ = grow("chain", 5, lambda *_: Row([0.2, 0.5, 0.3]), context, judge)
    assert events == [("judge", 0), ("draw", 0), ("judge", 1), ("draw", 1), ("judge", 2)]
    assert len(tree) == len(tree.draft_probs) == 2


def test_best_first_order():
    def row_of(node, nodes):
        return Row([0.6, 0.4, 0.0])

    tree, asked = grow("best-first:per_pass=1,top_k=2", 5, row_of)
    # Path probabilities: 0 .6, 1 .4, 00 .36, 01 .24, 10 .24 (later), ...
    assert list(zip(tree.tokens, tree.parents, strict=True)) == [(0, -1), (1, -1), (0, 0), (1, 0), (0, 1)]
    assert asked == [[-1], [0], [1], [2], [3]]
    assert tree.draft_probs is None


def test_best_first_per_pass_and_budget():
    tree, asked = grow("best-first:per_pass=3,top_k=3", 7, lambda *_: Row([0.5, 0.3, 0.2]))
    assert len(tree) == 7
    assert [len(nodes) for nodes in asked] == [1, 3, 3]


STOP_AT_2 = {False: Go.ON, True: Go.STOP}


def test_after_last_nothing_is_looked_at():
    asked_about = []

    def judge(node):
        asked_about.append(node)
        return Go.LAST if node.depth == 1 else Go.ON

    tree, asked = grow("chain", 5, lambda *_: Row([0.2, 0.5, 0.3]), judge=judge)
    assert (len(tree), asked) == (2, [[-1], [0]])
    asked_about.clear()
    tree, asked = grow("best-first:per_pass=2,top_k=2", 50, lambda *_: Row([0.6, 0.4, 0.0]), judge=judge)
    assert asked == [[-1], [0, 1]]
    assert list(tree.parents) == [-1, -1, 0, 0, 1, 1]
    assert [(node.confidence, node.path) for node in asked_about[:3]] == [
        (pytest.approx(0.6), 1.0), (pytest.approx(0.4), 1.0), (pytest.approx(0.6), pytest.approx(0.6)),
    ]  # fmt: skip


def test_a_tree_leaves_out_single_tokens():
    tree, _ = grow(
        "best-first:per_pass=1,top_k=3", 50, lambda *_: Row([0.5, 0.3, 0.2]),
        judge=lambda node: Go.ON if node.path * node.confidence > 0.21 else Go.STOP,
    )  # fmt: skip
    assert sorted(zip(tree.tokens, tree.parents, strict=True)) == [(0, -1), (0, 0), (1, -1)]


def test_best_first_stops_below_a_node_and_when_nothing_is_left():
    tree, _ = grow("best-first", 50, lambda *_: Row([0.5, 0.3, 0.2]), judge=lambda node: STOP_AT_2[node.depth == 2])
    assert len(tree) == 3 + 9
    tree, _ = grow("best-first", 50, lambda *_: Row([0.0, 0.0, 0.0, 0.0]))
    assert len(tree) == 0


@pytest.mark.parametrize("shape", ["chain", "best-first:per_pass=1,top_k=1"])
def test_nothing_is_drafted_below_the_end(shape):
    context = context_of([1, 2])
    context.ends = {1}
    tree, asked = grow(shape, 9, lambda node, nodes: Row([0.6, 0.3, 0.1] if node < 1 else [0.1, 0.8, 0.1]), context)
    assert list(tree.tokens) == [0, 0, 1]
    assert asked == [[-1], [0], [1]]
