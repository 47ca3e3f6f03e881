"""STAND: what is remembered, how far it is believed, and that drawn drafts leave the target's law as it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from laconic.errors import InvalidKnob
from laconic.models.native import bf16
from laconic.policy import registry
from laconic.speculation.base import Drafting, Tools
from laconic.speculation.drafters.few import NOTHING, few_rows
from laconic.speculation.drafters.index import Index
from laconic.speculation.drafters.mixture import Guesses, Mixture
from laconic.speculation.drafters.ngrams import NGrams, shares
from laconic.types import Sampling
from tests.fakes import FakeModel
from tests.speculation.exact import g_excess, plain_law
from tests.speculation.rounds import build, context_of, decode, plain

LOSSLESS = [name for name in registry.names("verifier") if registry.get("verifier", name).card.lossless]
TOOLS = Tools(None, build("shape", "chain"), 8)
SAMPLING = Sampling(temperature=0.8, seed=3)


def window(*tokens):
    return np.array([[*[NOTHING] * (8 - len(tokens)), *tokens]])


@pytest.fixture(params=["compiled", "NumPy"])
def kernels(request, monkeypatch):
    """Tables read and written by the project's kernels, where they can be had, and by NumPy."""
    if request.param == "compiled" and bf16.kernels() is None:
        pytest.skip("no AVX2, or no C compiler")
    monkeypatch.setattr(bf16, "loaded", bf16.kernels if request.param == "compiled" else lambda: None)
    return request.param


def test_both_ways_of_reading_tables_are_the_same(monkeypatch):
    """Random windows, short ones and equal ones among them, learned and looked up in one way and in the other."""
    if bf16.kernels() is None:
        pytest.skip("no AVX2, or no C compiler")
    random = np.random.default_rng(0)
    windows = random.integers(0, 6, (400, 8))
    windows[:40, :6] = NOTHING
    tokens, logits = random.integers(0, 99, (400, 3)), -random.exponential(4, (400, 3))
    logits[:, 0] = 0
    tokens[::7, 2], logits[::7, 2] = NOTHING, -np.inf
    found = []
    for way in (bf16.kernels, lambda: None):
        monkeypatch.setattr(bf16, "loaded", way)
        tables = NGrams((1, 2, 4), 3, 9), NGrams((2, 5), 3, (5, 8))
        for table in tables:
            table.learn(windows[:300], tokens[:300], logits[:300])
        found.append((*shares(tables, windows, 0.7), *(part for table in tables for part in table.look(windows))))
    known = found[0][0]
    assert 0.3 < known.mean() < 1
    assert (known == found[1][0]).all()
    for ours, theirs in ((found[0][i][known], found[1][i][known]) for i in (1, 2)):
        assert np.allclose(ours, theirs, atol=1e-9)
    assert all((ours == theirs).all() for ours, theirs in zip(found[0][3:], found[1][3:], strict=True))


@pytest.mark.usefixtures("kernels")
class TestNGrams:
    def test_every_order_is_found_by_itself(self):
        store = NGrams((1, 2, 3), 2, 10)
        store.learn(window(1, 2, 3), np.array([[7, 8]]), np.array([[0.0, -1.5]]))
        for text, expected in (((9, 9, 3), [1, 0, 0]), ((9, 2, 3), [1, 1, 0]), ((1, 2, 3), [1, 1, 1])):
            known, tokens, logits = store.look(window(*text))
            assert known[0].tolist() == expected
            for level in np.flatnonzero(known[0]):
                assert tokens[0, level].tolist() == [7, 8]
                assert logits[0, level].tolist() == [0.0, -1.5]

    def test_a_short_text_has_no_long_contexts(self):
        store = NGrams((1, 2), 2, 10)
        store.learn(window(3), np.array([[7, 8]]), np.zeros((1, 2)))
        assert store.look(window(3))[0].tolist() == [[True, False]]
        assert not store.look(window())[0].any()

    def test_the_newer_stays_and_memory_is_bounded(self):
        store = NGrams((2,), 1, 4)
        texts = np.concatenate([window(a, b) for a in range(20) for b in range(20)])
        store.learn(texts, np.arange(400)[:, None], np.zeros((400, 1)))
        known, tokens, _ = store.look(texts)
        assert 8 <= known.sum() <= 16
        assert tokens[known][:, 0].tolist() == np.flatnonzero(known).tolist(), "none is taken for another"
        store.learn(window(0, 0), np.array([[5]]), np.zeros((1, 1)))
        assert store.look(window(0, 0))[1][0, 0].tolist() == [5]


class TestMixture:
    def guesses(self, singles, known=(True, True)):
        return Guesses(
            np.array([known]), np.array([[[1, 2], [3, 2]]]), np.array([[[0.6, 0.4], [0.9, 0.1]]]), np.array([singles])
        )

    def shares(self, mixture, guesses):
        tokens, shares = mixture.combine(guesses)
        return {t: sum(s for u, s in zip(tokens[0], shares[0], strict=True) if t == u) for t in tokens[0].tolist()}

    def test_all_sources_count_alike_at_first_and_leave_room_for_others(self):
        found = self.shares(Mixture(2, 1), self.guesses([5]))
        assert found == pytest.approx({1: 1.6 / 6, 2: 0.5 / 6, 3: 1.9 / 6, 5: 1 / 6})

    def test_who_was_right_is_believed_where_the_same_sources_speak(self):
        mixture = Mixture(2, 1)
        for _ in range(300):
            mixture.learn(self.guesses([5]), np.array([5]))
        assert self.shares(mixture, self.guesses([5]))[5] > 0.9
        silent = self.shares(mixture, self.guesses([NOTHING]))
        assert silent[3] == pytest.approx(1.9 / 5)
        for _ in range(300):
            mixture.learn(self.guesses([NOTHING], (True, False)), np.array([2]))
        assert self.shares(mixture, self.guesses([NOTHING], (True, False)))[2] == pytest.approx(0.4, abs=0.02)

    def test_tokens_that_nobody_named_lower_all_shares(self):
        mixture = Mixture(2, 1)
        for _ in range(300):
            mixture.learn(self.guesses([5]), np.array([7]))
        assert sum(self.shares(mixture, self.guesses([5])).values()) < 0.1


def test_what_followed_is_the_latest():
    index = Index((1, 2))
    index.read([1, 2, 3, 1, 2])
    assert index.followed(np.concatenate([window(9, 1), window(1, 2), window(5, 2), window(5)])).tolist() == [
        [2, NOTHING], [3, 3], [3, NOTHING], [NOTHING, NOTHING],
    ]  # fmt: skip
    index.read([1, 2, 3, 1, 2, 4, 2])
    assert index.followed(window(1, 2)).tolist() == [[4, 4]]
    index.read([1, 2, 3, 6])
    assert index.followed(window(2, 3)).tolist() == [[6, 6]]


@pytest.mark.parametrize("drafting", [Drafting.FORESEE, Drafting.SAMPLE])
def test_rows_of_few_tokens(drafting):
    """Shares of a token that is named twice add up; where the draw is foreseen, the chances are those of that draw."""
    context = context_of([1, 2], Sampling(temperature=1.0, seed=5))
    context.drafting = drafting
    (row,) = few_rows(np.array([[3, 4, 3, NOTHING]]), np.array([[0.2, 0.3, 0.3, 0.0]]), context, [2], 8)
    assert row.probs.tolist() == pytest.approx([0, 0, 0, 0.625, 0.375, 0, 0, 0])
    ranked = [token for token, _ in row.top(5)]
    assert sorted(ranked) == [3, 4]
    assert row.best == ranked[0]
    if drafting is Drafting.SAMPLE:
        assert row.top(2) == [(3, 0.5), (4, 0.3)]
        return
    drawn = [
        few_rows(np.array([[3, 4]]), np.array([[0.5, 0.5]]), with_seed(seed), [2], 8)[0].best
        == with_seed(seed).draws.pick(row.probs.new_tensor([0, 0, 0, 0.5, 0.5, 0, 0, 0]), 2)
        for seed in range(40)
    ]
    assert all(drawn), "the very draw that the target makes of these shares"


def with_seed(seed):
    context = context_of([1, 2], Sampling(temperature=1.0, seed=seed))
    context.drafting = Drafting.FORESEE
    return context


@pytest.mark.parametrize("sampling", [Sampling(), SAMPLING], ids=["greedy", "sampled"])
@pytest.mark.parametrize("shape", ["chain", "best-first", "sequoia:acceptance=0.5/0.2"])
def test_a_text_that_it_can_know_takes_far_fewer_passes(sampling, shape):
    model = FakeModel.random(1, sharpness=3.0)
    passes = []
    text = decode(
        model, [context_of([1, 2], sampling)], 300, build("drafter", "stand"), length=build("length", "constant:6"),
        shape=build("shape", shape), after=lambda states, trees: passes.append(len(trees[0])),
    )  # fmt: skip
    assert text == [plain(model, [1, 2], 300, sampling)]
    assert len(passes) < 160
    assert max(passes) == 6


@pytest.mark.parametrize("verifier", LOSSLESS)
def test_drawn_drafts_leave_the_law_as_it_is(verifier):
    """One drafter for all requests, which learns all along: 1,500 texts of three tokens against their exact law."""
    model = FakeModel.random(2, 4, sharpness=1.5)
    drafter, length = build("drafter", "stand:orders=1/2,k=3,bits=8"), build("length", "constant:3")
    shape = build("shape", "chain" if verifier == "block" else "k-ary:2/1")
    judge = build("verifier", verifier)
    contexts = [context_of([1, 2], Sampling(temperature=0.9, seed=seed)) for seed in range(1500)]
    drafted = []
    texts = []
    for at in range(0, 1500, 300):
        texts += decode(
            model, contexts[at : at + 300], 3, drafter, verifier=judge, length=length, shape=shape,
            after=lambda states, trees: drafted.extend(tree for tree in trees if len(tree)),
        )  # fmt: skip
    assert len(drafted) > 1500
    if judge.drafting is not Drafting.FORESEE:
        assert all(tree.draft_probs is not None for tree in drafted[-100:])
    assert g_excess([tuple(text) for text in texts], plain_law(model, context_of([1, 2], contexts[0].sampling), 3)) < 1


def test_distributions_are_over_the_targets_vocabulary():
    model = FakeModel.random(1)
    drafter = build("drafter", "stand")
    (written,) = decode(model, [context_of([1, 2], SAMPLING)], 60, drafter)
    context = context_of(written[:40], SAMPLING)
    tree = drafter.propose([drafter.start(context, TOOLS)], [4], [None])[0]
    assert len(tree) == 4
    for q in tree.draft_probs:
        assert q.shape == (8,)
        assert float(q.sum()) == pytest.approx(1)
        assert isinstance(q, torch.Tensor)


def test_what_is_shared_and_what_is_not():
    model = FakeModel.random(1)
    for spec, knows in (("stand:text=", True), ("stand:shared=false,text=", False)):
        drafter = build("drafter", spec)
        (written,) = decode(model, [context_of([1, 2])], 30, drafter)
        state = drafter.start(context_of(written[10:12]), TOOLS)
        assert bool(len(drafter.propose([state], [4], [None])[0])) is knows


@pytest.mark.parametrize("knob", ["orders=2/1", "orders=", "orders=1/9", "text=3/3", "bits=30"])
def test_orders_that_make_no_sense_are_refused(knob):
    with pytest.raises(InvalidKnob, match=knob.split("=")[0]):
        build("drafter", f"stand:{knob}")
