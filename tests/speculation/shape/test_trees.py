"""What all trees promise: budgets, form, where they end, what a length policy is asked, and the text they lead to."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from laconic.speculation.base import Drafting, Go
from laconic.types import Sampling
from tests.fakes import FakeModel
from tests.speculation.rounds import build, context_of, decode, plain
from tests.speculation.shape.test_shapes import Row, grow, path_to

DRAWN = ["dyspec", "dyspec:per_pass=1,top_k=2", "k-ary:3/2/1", "stochastic-beam:width=3,depth=4",
         "sequoia:acceptance=0.6/0.3/0.1"]  # fmt: skip
RANKED = ["best-first", "best-first:per_level=3,depth=4", "opt-tree", "opt-tree:delta=0"]
HOW = {"greedy": Drafting.SAMPLE, "unknown": Drafting.SAMPLE} | {way.name.lower(): way for way in Drafting}


def context(how, seed=0):
    made = context_of([1, 2], Sampling(temperature=0.0 if how == "greedy" else 1.0, seed=seed))
    made.drafting = HOW[how]
    return made


def random_rows(seed, vocab=6, known=True):
    """A row for every node, the same whenever it is asked for."""

    def row_of(node, nodes):
        generator = torch.Generator().manual_seed(hash((seed, *path_to(node, nodes))) % 2**31)
        return Row((2 * torch.randn(vocab, generator=generator)).softmax(-1).tolist(), known)

    return row_of


@pytest.mark.parametrize("shape", [*DRAWN, *RANKED])
@pytest.mark.parametrize("how", HOW)
def test_form(shape, how):
    for budget in range(12):
        made = context(how, seed=budget)
        made.ends = {5}
        tree, asked = grow(shape, budget, random_rows(budget, known=how != "unknown"), made)
        assert len(tree) <= budget
        assert len(tree) > 0 or budget == 0
        assert all(-1 <= parent < node for node, parent in enumerate(tree.parents))
        assert not any(parent >= 0 and tree.tokens[parent] == 5 for parent in tree.parents)
        alone = shape.partition(":")[0] in ("dyspec", "stochastic-beam")
        # There, what siblings there are depends on the ones before: nothing is drawn for independent draws.
        drawn = shape in DRAWN and (how == "sample" or (how == "repeat" and not alone))
        assert (tree.draft_probs is not None) == (drawn and budget > 0)
        assert tree.draft_probs is None or len(tree.draft_probs) == len(tree)
        if not (drawn and how == "repeat"):
            assert len(set(zip(tree.parents, tree.tokens, strict=True))) == len(tree)
        assert all(len(nodes) for nodes in asked), "no pass for nothing"
        assert len(asked) <= budget, "no row below a path as long as the budget"


@pytest.mark.parametrize("shape", [*DRAWN, *RANKED])
def test_a_budget_of_one_is_a_chain_of_one(shape):
    for how in HOW:
        tree, asked = grow(shape, 1, random_rows(3, known=how != "unknown"), context(how))
        assert (len(tree), list(tree.parents), asked) == (1, [-1], [[-1]])
        if tree.draft_probs is None:
            assert list(tree.tokens) == list(grow("chain", 1, random_rows(3), context("greedy"))[0].tokens)


def test_siblings_come_from_one_row():
    tree, _ = grow("k-ary:3/2", 9, rows := random_rows(1), context("sample"))
    assert list(tree.parents) == [-1, -1, -1, 0, 0, 1, 1, 2, 2]
    first = rows(-1, None).probs
    assert all(torch.equal(probs, first) for probs in tree.draft_probs[:3])
    assert torch.equal(tree.draft_probs[3], tree.draft_probs[4])
    assert not torch.equal(tree.draft_probs[3], tree.draft_probs[5])


def test_independent_siblings_may_be_alike():
    trees = [grow("k-ary:3", 3, lambda *_: Row([0.8, 0.1, 0.1]), context("repeat", seed))[0] for seed in range(20)]
    assert any(len(set(tree.tokens)) < 3 for tree in trees)
    assert len({tuple(tree.tokens) for tree in trees}) > 3


@pytest.mark.parametrize("per_pass", [1, 3])
@pytest.mark.parametrize("how", ["greedy", "unknown", "foresee"])
def test_dyspec_without_draws_is_best_first(per_pass, how):
    for seed in range(20):
        rows = random_rows(seed, known=how != "unknown")
        mine, passes = grow(f"dyspec:top_k=3,per_pass={per_pass}", 9, rows, context(how))
        other, others = grow(f"best-first:top_k=3,per_pass={per_pass}", 9, rows, context(how))
        assert (mine.tokens, mine.parents, passes) == (other.tokens, other.parents, others)


def test_dyspec_fills_the_slot_of_the_highest_value():
    tree, _ = grow("dyspec:per_pass=1,top_k=6", 12, rows := random_rows(4), context("sample", 4))
    path, left = {-1: 1.0}, {-1: 1.0}
    for node, (token, parent) in enumerate(zip(tree.tokens, tree.parents, strict=True)):
        assert path[parent] * left[parent] == pytest.approx(max(path[n] * left[n] for n in path), abs=1e-6)
        share = float(tree.draft_probs[node][token])
        path[node], left[node] = path[parent] * share, 1.0
        left[parent] -= share
    assert torch.equal(tree.draft_probs[0], rows(-1, None).probs)


@pytest.mark.parametrize("shape", DRAWN)
def test_policies_are_asked_without_a_look_at_the_draw(shape):
    asked = []

    def judge(node):
        asked.append(node)
        return Go.ON

    tree, _ = grow(shape, 12, random_rows(2), context("sample", 2), judge)
    path = {-1: 1.0}
    for i, (node, token, parent) in enumerate(zip(asked, tree.tokens, tree.parents, strict=True)):
        q = tree.draft_probs[i]
        assert torch.equal(node.probs, q)
        elder = {tree.tokens[j] for j in range(i) if tree.parents[j] == parent}
        assert node.confidence == pytest.approx(max(float(q[t]) for t in range(6) if t not in elder))
        assert node.path == pytest.approx(path[parent])
        path[i] = path[parent] * float(q[token])


@pytest.mark.parametrize("shape", [*DRAWN, *RANKED])
def test_what_is_stopped_is_left_out(shape):
    for how in ("greedy", "sample"):
        whole, _ = grow(shape, 12, random_rows(5), context(how))
        asked = []

        def judge(node, asked=asked):
            asked.append((node.depth, node.path))
            return Go.STOP if node.depth > 0 else Go.ON

        top, _ = grow(shape, 12, random_rows(5), context(how), judge)
        assert set(top.parents) == {-1}
        assert len(asked) >= len(top)
        below = [path for level, path in asked if level > 0]
        assert shape in RANKED or len(set(below)) == len(below), "a place that is stopped is not asked about again"
        assert set(top.tokens) >= {t for t, p in zip(whole.tokens, whole.parents, strict=True) if p == -1}
        last, _ = grow(shape, 12, random_rows(5), context(how), lambda node: Go.LAST)
        assert set(last.parents) == {-1}


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.8, top_k=5, min_p=0.02, seed=9)], ids=repr)
@pytest.mark.parametrize("drafter", ["suffix", "draft-model"])
@pytest.mark.parametrize("shape", [*DRAWN, *RANKED[1:]])
def test_match_gives_the_text_of_plain_decoding(shape, drafter, sampling):
    target = FakeModel.random(1)
    contexts = [context_of(prompt, sampling) for prompt in ([1, 2, 3], [4] * 40)]
    options = {"draft": target.noisy(2, 1.0), "shape": build("shape", shape), "length": build("length", "constant:7")}
    texts = decode(target, contexts, 30, build("drafter", drafter), **options)
    assert texts == [plain(target, prompt, 30, sampling) for prompt in ([1, 2, 3], [4] * 40)]


@pytest.mark.parametrize("shape", [*DRAWN, *RANKED])
def test_greedy_text_under_a_verifier_of_drawn_drafts(shape):
    target = FakeModel.random(1)
    options = {"draft": target.noisy(2, 1.0), "shape": build("shape", shape), "length": build("length", "constant:7")}
    options["verifier"] = build("verifier", "speculative-sampling")
    assert decode(target, [context_of([1, 2])], 30, build("drafter", "draft-model"), **options) == [
        plain(target, [1, 2], 30)
    ]


def test_knobs_that_are_lists():
    assert build("shape", "k-ary:8/1").branching == (8, 1)
    assert build("shape", build("shape", "k-ary:8/1").spec()) == build("shape", "k-ary:8/1")
    assert dataclasses.astuple(build("shape", "sequoia:acceptance=0.5/0.25,depth=3,pass_times=1/2")) == (
        (0.5, 0.25), 3, (1.0, 2.0), 0.0,
    )  # fmt: skip
