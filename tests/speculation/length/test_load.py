"""Lengths that look at all requests at once: goodput and TETRIS."""

from __future__ import annotations

import itertools
import random

import pytest
import torch

from laconic.speculation.base import TokenTree, Verdict
from laconic.speculation.length.tetris import chances, pruned
from laconic.speculation.pace import Pace
from laconic.types import Sampling
from tests.fakes import FakeModel
from tests.speculation.rounds import build, context_of, decode, plain


class Row:
    """What a drafter says of one place."""

    probs = None

    def __init__(self, **known: float) -> None:
        self.known = {int(token[1:]): chance for token, chance in known.items()}
        self.best = max(self.known, key=self.known.__getitem__)
        self.confidence = self.known[self.best]

    def top(self, k: int) -> list[tuple[int, float]]:
        return sorted(self.known.items(), key=lambda pair: -pair[1])[:k]


def pace_of(fixed: float, node: float, draft: float) -> Pace:
    pace = Pace()
    for nodes in [*range(1, 200, 3)] * 3:
        pace.record(
            nodes=nodes, tokens=2, draft_passes=1, draft=draft, score=fixed + node * nodes, rest=0.0
        )  # fmt: skip
    return pace


@pytest.mark.parametrize("requests", [1, 4, 16, 64])
def test_goodput_takes_the_length_with_the_most_tokens_a_second(requests):
    policy, pace = build("length", "goodput"), pace_of(1.0, 0.03, 0.02)
    states = [policy.start(context_of([1]), pace) for _ in range(requests)]
    for state in states:
        for _ in range(60):  # eight of ten hold
            policy.observe(state, Verdict(TokenTree.of_chain(range(4)), range(4), 0), 0.0)
            policy.observe(state, Verdict(TokenTree.of_chain(range(1)), (), 0), 0.0)
    rate = states[0].acceptance.rate
    assert rate == pytest.approx(0.8, abs=0.02)

    def goodput(k: int) -> float:
        return requests * sum(rate**j for j in range(k + 1)) / (1 + 0.03 * requests * (k + 1) + 0.02 * k)

    best = max(range(17), key=goodput)
    chosen = policy.budgets(states)
    assert len(set(chosen)) == 1
    assert goodput(chosen[0]) >= 0.98 * goodput(best)
    assert chosen[0] <= (1 if requests == 64 else 16)


def test_goodput_tries_again_after_a_while():
    policy, pace = build("length", "goodput"), pace_of(0.1, 1.0, 1.0)
    states = [policy.start(context_of([1]), pace) for _ in range(3)]
    budgets = [policy.budgets(states)[0] for _ in range(130)]
    assert sum(budgets) == 2
    assert set(budgets) == {0, 1}
    assert policy.budgets([]) == []


def test_chances_are_products_down_the_path():
    rows = {-1: Row(t7=0.5, t8=0.25), 0: Row(t3=0.8), 1: Row(t4=0.1)}
    tree = TokenTree([7, 8, 3, 5], [-1, -1, 0, 2], rows=rows)
    assert chances(tree) == pytest.approx([0.5, 0.25, 0.4, 0.2]), "below a place nobody looked at: one half"


def test_tetris_takes_the_best_beginning_of_every_draft():
    rng = random.Random(4)
    policy = build("length", "tetris:capacity=5")
    for _ in range(30):
        trees = []
        for _ in range(3):
            rows = {place: Row(t1=rng.choice((0.3, 0.6, 0.9))) for place in range(-1, 3)}
            trees.append(TokenTree.of_chain([1, 1, 1, 1]))
            trees[-1] = TokenTree(trees[-1].tokens, trees[-1].parents, rows=rows)
        taken = policy.select([None] * 3, trees)
        worth = sum(sum(chances(tree)[: len(kept)]) for tree, kept in zip(trees, taken, strict=True))
        best = max(
            sum(sum(chances(tree)[:n]) for tree, n in zip(trees, lengths, strict=True))
            for lengths in itertools.product(range(5), repeat=3)
            if sum(lengths) <= 5
        )
        assert sum(map(len, taken)) == 5
        assert worth == pytest.approx(best)


def test_tetris_is_blind_to_what_was_drawn():
    # The trap: with draft (1/2, 1/2) and target (9/10, 1/10) a rule that drops the less likely value biases the text.
    row, other = Row(t0=0.55, t1=0.45), Row(t0=0.5)
    kept = []
    for drawn in (0, 1):
        sampled = TokenTree([drawn], [-1], [torch.tensor([0.55, 0.45])], rows={-1: row})
        rival = TokenTree([0], [-1], [torch.tensor([1.0])], rows={-1: other})
        kept.append([len(tree) for tree in build("length", "tetris:capacity=1").select([None] * 2, [sampled, rival])])
    assert kept == [[1, 0], [1, 0]]


def test_a_pruned_tree_keeps_its_paths_and_rows():
    probs = [torch.tensor([float(i), 1.0]) for i in range(4)]
    rows = {-1: Row(t1=0.5), 1: Row(t2=0.5), 3: Row(t4=0.1)}
    tree = pruned(TokenTree([1, 2, 3, 4], [-1, -1, 0, 1], probs, "x", rows), {1, 3})
    assert (tree.tokens, tree.parents, tree.source) == ([2, 4], [-1, 0], "x")
    assert [float(row[0]) for row in tree.draft_probs] == [1.0, 3.0]
    assert tree.rows == {-1: rows[-1], 0: rows[1], 1: rows[3]}


@pytest.mark.parametrize("verifier", ["match", "speculative-sampling"])
@pytest.mark.parametrize("drafter", ["draft-model", "suffix"])
def test_a_batch_shares_the_capacity_and_keeps_its_text(drafter, verifier):
    target = FakeModel.random(1)
    for sampling in (Sampling(), Sampling(temperature=0.8, seed=3)):
        contexts = [context_of([1, 2, i], sampling) for i in range(4)]
        texts = decode(
            target, contexts, 30, build("drafter", drafter), draft=target.noisy(2, 1.0),
            length=build("length", "tetris:capacity=6"), verifier=build("verifier", verifier),
            after=lambda states, trees: scored.append(sum(map(len, trees))) or None,
        )  # fmt: skip
        assert max(scored) == 6
        if sampling.greedy or verifier == "match":
            assert texts == [plain(target, [1, 2, i], 30, sampling) for i in range(4)]


scored: list[int] = []
