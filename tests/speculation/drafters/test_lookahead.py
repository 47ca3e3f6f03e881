"""Lookahead decoding: its window is iterated as Jacobi would, and what turns up is drafted."""

from __future__ import annotations

import pytest

from laconic.speculation.base import Tools
from laconic.types import Sampling
from tests.fakes import FakeModel
from tests.speculation.rounds import build, context_of, decode, heard, plain

CHAIN = Tools(None, build("shape", "chain"), 8)


def test_every_column_goes_on_as_the_target_says():
    model = FakeModel.random(0)
    context = context_of([1, 2, 3])
    drafter = build("drafter", "lookahead:window=3,ngram=3,guesses=2")
    state = drafter.start(context, CHAIN)
    (tree,) = drafter.propose([state], [20], [None])
    assert tree.tokens == [1, 2, 3], "the prompt's end; no n-gram begins with its last token"
    assert list(tree.parents) == [-1, 0, 1]
    drafter.observe([state], [heard(model, context, tree)])
    said = [int(model.after([1, 2, 3, *[1, 2, 3][: i + 1]]).argmax()) for i in range(3)]
    assert state.levels == [[1, 2, 3], said]
    (tree,) = drafter.propose([state], [20], [None])
    grams = []
    for j in range(3):
        way = [*[1, 2, 3][: j + 1], said[j]]
        grams.append([[1, 2, 3][j], said[j], int(model.after([1, 2, 3, *way]).argmax())])
    drafter.observe([state], [heard(model, context, tree)])
    assert state.levels == [said, [gram[-1] for gram in grams]]
    assert all(tuple(gram[1:]) in state.pool.after(gram[0]) for gram in grams)


def test_n_grams_of_the_last_token_are_drafted_the_latest_ones():
    context = context_of([5, 1, 2, 5, 3, 4, 5, 6, 7, 0, 5])
    drafter = build("drafter", "lookahead:window=1,ngram=3,guesses=2")
    (tree,) = drafter.propose([drafter.start(context, CHAIN)], [20], [None])
    assert tree.tokens == [6, 7, 3, 4, 5]
    assert list(tree.parents) == [-1, 0, -1, 2, -1]
    (tree,) = drafter.propose([drafter.start(context, CHAIN)], [3], [None])
    assert tree.tokens == [6, 7, 3]
    assert not len(drafter.propose([drafter.start(context, CHAIN)], [0], [None])[0])


def test_a_window_that_does_not_fit_is_used_in_part():
    model = FakeModel.random(0)
    context = context_of([1, 2, 3, 4])
    drafter = build("drafter", "lookahead:window=4,ngram=4,guesses=1")
    state = drafter.start(context, CHAIN)
    for _ in range(4):
        (tree,) = drafter.propose([state], [5], [None])
        assert len(tree) <= 5
        drafter.observe([state], [heard(model, context, tree)])
    assert len(state.levels) == 3
    assert 1 <= len(state.levels[0]) < 4


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.8, seed=3)], ids=["greedy", "sampled"])
def test_texts_that_repeat_take_fewer_passes(sampling):
    model = FakeModel.random(1, sharpness=3.0)
    rounds = []
    text = decode(
        model, [context_of([1, 2], sampling)], 200, build("drafter", "lookahead"),
        length=build("length", "constant:30"), after=lambda states, trees: rounds.append(len(trees[0])),
    )  # fmt: skip
    assert text == [plain(model, [1, 2], 200, sampling)]
    assert len(rounds) < (130 if sampling.greedy else 190)
    assert max(rounds) <= 30


def test_somebody_else_s_round_teaches_nothing():
    model = FakeModel.random(0)
    context = context_of([1, 2, 3])
    drafter = build("drafter", "lookahead:window=2,ngram=3")
    state = drafter.start(context, CHAIN)
    before = [list(level) for level in state.levels]
    (tree,) = drafter.propose([state], [9], [None])
    other = type(tree)(list(tree.tokens)[:1], [-1])
    drafter.observe([state], [heard(model, context, other)])
    assert state.levels == before
