"""Token recycling: what is kept, what is drafted of it, and what it costs nobody."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from laconic.speculation.base import TargetRows, TokenTree, Tools, Verdict
from laconic.speculation.drafters.token_recycling import Matrix
from laconic.types import Sampling
from tests.fakes import FakeModel
from tests.speculation.rounds import build, context_of, decode, heard, plain

CHAIN = Tools(None, build("shape", "chain"), 8)
SAMPLING = Sampling(temperature=0.8, seed=3)


class Order1(FakeModel):
    """What follows hangs on the last token alone: a matrix can know it all."""

    def after(self, tokens):
        return self.table[0, tokens[-1]]


def test_every_scored_node_is_kept_refused_ones_too():
    model = FakeModel.random(0)
    context = context_of([1, 2])
    drafter = build("drafter", "token-recycling:k=3")
    state = drafter.start(context, CHAIN)
    said = int(model.after([1, 2]).argmax())
    wrong = (said + 1) % 8
    tree = TokenTree([wrong, (said + 2) % 8, 5], [-1, 0, -1])
    assert wrong != 5 != said, "as the seed has it"
    drafter.observe([state], [heard(model, context, tree)])
    kept = state.matrix.tokens
    for text in ([1, 2], [1, 2, wrong], [1, 2, wrong, (said + 2) % 8], [1, 2, 5]):
        expected = model.table[text[-2], text[-1]].topk(3).indices.tolist()
        assert kept[text[-1]].tolist() == expected
    untouched = set(range(8)) - {2, wrong, (said + 2) % 8, 5, 1}
    assert all((kept[token] == -1).all() for token in untouched)


def test_pairs_of_a_prompt_come_first_the_last_one_counting():
    matrix = Matrix(10, 3)
    matrix.tokens[4] = [7, 8, 9]
    matrix.tokens[5] = [1, 2, 3]
    matrix.follow(np.array([4, 4, 5, 6]), np.array([1, 8, 0, 2]))
    assert matrix.tokens[4].tolist() == [8, 7, 9]
    assert matrix.tokens[5].tolist() == [0, 1, 2]
    assert matrix.tokens[6].tolist() == [2, -1, -1]


def test_shares_become_those_that_are_taken():
    matrix = Matrix(4, 3)
    matrix.tokens[1] = [0, 2, 3]
    matrix.judge(np.array([1, 3] * 40), np.array([2, 0] * 40))
    assert matrix.shares[1] > 0.8
    assert matrix.shares[0] < 0.1
    assert matrix.shares.sum() < 1


@pytest.mark.parametrize("sampling", [Sampling(), SAMPLING], ids=["greedy", "sampled"])
def test_a_text_that_it_can_know_takes_far_fewer_passes(sampling):
    """At a temperature too: the draws are foreseen."""
    model = Order1.random(1, sharpness=3.0)
    drafter = build("drafter", "token-recycling")
    rounds = []
    text = decode(
        model, [context_of([1, 2], sampling)], 200, drafter, length=build("length", "constant:6"),
        shape=build("shape", "best-first"), after=lambda states, trees: rounds.append(len(trees[0])),
    )  # fmt: skip
    assert text == [plain(model, [1, 2], 200, sampling)]
    assert len(rounds) < 80
    assert max(rounds) == 6


def test_what_is_shared_and_what_is_not():
    model = Order1.random(1)
    for spec, knows in (("token-recycling", True), ("token-recycling:shared=false", False)):
        drafter = build("drafter", spec)
        (written,) = decode(model, [context_of([1, 2])], 30, drafter)
        state = drafter.start(context_of([written[-5]]), CHAIN)
        assert bool(len(drafter.propose([state], [4], [None])[0])) is knows
    assert build("drafter", "token-recycling").report() is None


def test_it_says_what_a_static_tree_needs():
    drafter = build("drafter", "token-recycling:k=4")
    decode(Order1.random(1), [context_of([1, 2])], 60, drafter)
    found = drafter.report()["acceptance"]
    assert len(found) == 4
    assert found[0] > 0.9
    build("shape", "sequoia:acceptance=" + "/".join(map(str, found)))


def test_nothing_is_drafted_of_what_rules_forbid():
    """Logits of minus infinity are no candidates."""
    context = context_of([1, 2])
    drafter = build("drafter", "token-recycling:k=4")
    state = drafter.start(context, CHAIN)
    logits = torch.full((1, 8), -torch.inf)
    logits[0, 6] = 0.0
    rows = TargetRows(logits, [6], context.sampling, 2)
    drafter.observe([state], [Verdict(TokenTree(), [], 6, rows, (1, 2))])
    assert state.matrix.tokens[2].tolist() == [6, -1, -1, -1]
    assert drafter.propose([state], [1], [None])[0].tokens == [6]


def test_a_vocabulary_may_be_smaller_than_the_list():
    model = Order1.random(1, vocab=4)
    for drafter in ("token-recycling:k=9", "stand:k=9,text="):
        built, drafted = build("drafter", drafter), []
        text = decode(model, [context_of([1, 2])], 30, built, after=lambda states, trees, d=drafted: d.extend(trees))
        assert text == [plain(model, [1, 2], 30)]
        assert max(map(len, drafted)) == 4
