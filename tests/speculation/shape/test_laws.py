"""Drawn trees leave the target's law as it is: seeded runs, a G test, and faults that it must notice."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from laconic.speculation.draws import Draws
from laconic.speculation.shape.slots import Slots
from laconic.types import Sampling
from tests.fakes import FakeModel
from tests.speculation.exact import distance, g_excess, law_of_text, plain_law
from tests.speculation.rounds import build, context_of, decode
from tests.speculation.shape.test_shapes import grow, rows_of

SHAPES = ["dyspec:per_pass=1", "dyspec:per_pass=2,top_k=2", "k-ary:2/2/1", "stochastic-beam:width=2,depth=3",
          "stochastic-beam:width=3,depth=2", "sequoia:acceptance=0.5/0.3/0.1"]  # fmt: skip
FAULTY = ["dyspec:per_pass=1", "stochastic-beam:width=3,depth=3", "k-ary:2/2/1"]
JUDGE = "confidence:threshold=0.3,maximum=6"
TEXT, RUNS = 3, 1500


def pair() -> tuple[FakeModel, FakeModel]:
    """Three tokens; a draft model that is often wrong."""
    target = FakeModel.random(3, 3, sharpness=1.5)
    return target, target.noisy(4, 1.5)


def excess(shape, verifier="speculative-sampling", length="constant:5", runs=RUNS, models=None) -> float:
    """The G statistic of ``runs`` texts of three tokens, over its critical value at a false alarm rate of 1e-6."""
    target, draft = models or pair()
    options = {"draft": draft, "verifier": build("verifier", verifier), "length": build("length", length)}
    texts = []
    for first in range(0, runs, 100):
        contexts = [context_of([1, 2], Sampling(temperature=1.0, seed=seed)) for seed in range(first, first + 100)]
        drafter = build("drafter", "draft-model")
        texts += [
            tuple(text) for text in decode(target, contexts, TEXT, drafter, shape=build("shape", shape), **options)
        ]
    return g_excess(texts, plain_law(target, context_of([1, 2], Sampling(temperature=1.0)), TEXT))


@pytest.mark.parametrize("shape", SHAPES)
def test_speculative_sampling(shape):
    assert excess(shape) < 1


@pytest.mark.parametrize("shape", ["dyspec:per_pass=1", "stochastic-beam:width=3,depth=3"])
def test_a_policy_that_looks_at_rows_and_elder_siblings(shape):
    assert excess(shape, length=JUDGE) < 1


@pytest.mark.parametrize("shape", FAULTY)
def test_siblings_sorted_by_their_value_are_noticed(shape, monkeypatch):
    whole = Slots.__init__

    def sorts(self, *args):
        whole(self, *args)
        self.known.sort(key=lambda pair: -pair[1])

    monkeypatch.setattr(Slots, "__init__", sorts)
    assert excess(shape, runs=500) > 1


@pytest.mark.parametrize("shape", FAULTY)
def test_a_policy_that_is_shown_the_draw_is_noticed(shape, monkeypatch):
    monkeypatch.setattr(Slots, "confidence", property(lambda self: self.known[self.filled][1]))
    assert excess(shape, length=JUDGE, runs=1000) > 1


class Orders(Draws):
    """Children in orders from a table, by sub-stream; notes the first one that is missing and what it is drawn from."""

    def __init__(self, known):
        super().__init__(0)
        self.known, self.missing = known, None

    def waits(self, probs, position, stream=Draws.TOKEN, sub=0):
        tokens = probs.numpy().nonzero()[0]
        if sub not in self.known and self.missing is None:
            self.missing = sub, probs
        order = self.known.get(sub, tuple(tokens.tolist()))
        return tokens, np.array([float(order.index(token)) for token in tokens.tolist()])


def all_trees(shape, draft, context, budget):
    """Every tree that ``shape`` can draw, with its probability: all orders of the children of all nodes asked."""
    law = Counter()

    def visit(known, weight):
        context.draws = Orders(known)
        tree, _ = grow(shape, budget, rows_of(draft), context)
        if context.draws.missing is None:
            law[tuple(tree.tokens), tuple(tree.parents)] += weight
            trees[tuple(tree.tokens), tuple(tree.parents)] = tree
            return
        sub, probs = context.draws.missing
        for order in itertools.permutations(probs.nonzero()[:, 0].tolist()):
            rates = [float(probs[token]) for token in order]
            share = math.prod(rate / sum(rates[i:]) for i, rate in enumerate(rates))
            visit(known | {sub: order}, weight * share)

    trees = {}
    visit({}, 1.0)
    return [(weight, trees[form]) for form, weight in law.items()]


@pytest.mark.parametrize("shape", ["dyspec:per_pass=1", "dyspec:per_pass=2", "k-ary:2/2", "sequoia:acceptance=0.5/0.3"])
def test_exact_law_of_a_round(shape):
    target, draft = pair()
    context = context_of([1, 2], Sampling(temperature=1.0))
    trees = all_trees(shape, draft, context, 4)
    assert sum(weight for weight, _ in trees) == pytest.approx(1, abs=1e-5)
    law = law_of_text(build("verifier", "speculative-sampling"), target, context, iter(trees), 3)
    assert distance(law, plain_law(target, context, 3)) < 1e-5


def test_a_stochastic_beam_draws_whole_paths_without_replacement():
    draft = FakeModel.random(2, 3, sharpness=1.0)
    first = draft.after([1, 2]).softmax(-1).tolist()
    paths = {(a, b): first[a] * p for a in range(3) for b, p in enumerate(draft.after([2, a]).softmax(-1).tolist())}
    law = {(x, y): p * q / (1 - p) for (x, p), (y, q) in itertools.permutations(paths.items(), 2)}
    drawn = []
    for seed in range(2000):
        context = context_of([1, 2], Sampling(temperature=1.0, seed=seed))
        tree, _ = grow("stochastic-beam:width=2,depth=2", 4, rows_of(draft), context)
        drawn.append(tuple((tree.tokens[tree.parents[node]], tree.tokens[node]) for node in (2, 3)))
    assert g_excess(drawn, law) < 1
