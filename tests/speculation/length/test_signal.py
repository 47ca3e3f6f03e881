"""Thresholds on what the drafter says, and the bandit over lengths."""

from __future__ import annotations

import math
import random

import pytest
import torch

from laconic.errors import InvalidKnob
from laconic.speculation.base import Go, Node, TokenTree, Verdict
from laconic.speculation.length.confidence import best_threshold
from laconic.speculation.pace import Pace
from tests.speculation.length.world import World, best_fixed, rate
from tests.speculation.rounds import build, context_of


def drafted(policy, state, *confidences, path=None):
    """How many tokens a draft of these confidences gets."""
    policy.budget(state)
    for depth, confidence in enumerate(confidences):
        if policy.go_on(state, Node(depth, None, confidence, path)) is Go.STOP:
            return depth
    return len(confidences)


def test_confidence_judges_each_token_or_the_whole_draft():
    policy = build("length", "confidence:threshold=0.5")
    state = policy.start(context_of([1]), Pace())
    assert drafted(policy, state, 0.9, 0.6, 0.5, 0.4, 0.9) == 3
    assert policy.budget(state) == 16
    whole = build("length", "confidence:threshold=0.5,aggregate=product")
    state = whole.start(context_of([1]), Pace())
    assert drafted(whole, state, 0.9, 0.8, 0.7, 0.9) == 3, "0.9 * 0.8 * 0.7 = 0.504"
    assert drafted(whole, state, 0.9, 0.8, 0.7, 0.9) == 3, "each draft begins anew"
    assert whole.go_on(state, Node(3, None, 0.9, path=0.5)) is Go.STOP
    assert whole.go_on(state, Node(3, None, 0.9, path=0.6)) is Go.ON


def test_adaedl_bounds_acceptance_by_entropy_and_moves_its_threshold():
    policy = build("length", "adaedl:threshold=0.5,scale=0.25")
    state = policy.start(context_of([1]), Pace())
    even = torch.full((2,), 0.5)
    assert 1 - math.sqrt(0.25 * math.log(2)) == pytest.approx(0.5837, abs=1e-3)
    assert policy.go_on(state, Node(0, even, 0.5)) is Go.ON
    assert policy.go_on(state, Node(0, torch.full((4,), 0.25), 0.25)) is Go.LAST
    before = state.threshold
    for _ in range(30):
        policy.observe(state, Verdict(TokenTree.of_chain([1, 2]), (), 0), 0.0)
    assert state.rate < 0.01
    assert before + 0.02 < state.threshold < before + 0.04, "a tenth of the step each round"
    high = state.threshold
    for _ in range(30):
        policy.observe(state, Verdict(TokenTree.of_chain([1, 2]), (0, 1), 0), 0.0)
    assert state.threshold < high


@pytest.mark.parametrize("spec", ["svip", "adaedl", "confidence"])
def test_a_token_whose_draft_pass_was_paid_for_is_kept_and_nothing_below_it(spec):
    policy = build("length", spec)
    state = policy.start(context_of([1]), Pace())
    doubtful = torch.full((64,), 1 / 64)
    assert policy.go_on(state, Node(0, doubtful, 1 / 64)) is Go.LAST
    assert policy.go_on(state, Node(0, doubtful, 1 / 64, path=1.0)) is Go.STOP, "in a tree each branch would end in one"
    unpaid = policy.go_on(state, Node(0, None, 1 / 64))
    assert unpaid is (Go.STOP if spec == "confidence" else Go.ON), "without a pass there is nothing to make use of"


EASY = World(0.97, 0.9, 0.9, 0.02, 0.02)
HARD = World(0.4, 0.2, 0.9, 0.05, 0.2)


@pytest.mark.parametrize("algorithm", ["ucb", "exp3"])
@pytest.mark.parametrize("world", [EASY, HARD], ids=["easy", "hard"])
def test_a_bandit_finds_the_better_arms(world, algorithm):
    spec = f"bandit:algorithm={algorithm},arms=1/4/16"
    mine = rate(world, spec, 4000)
    each = {length: rate(world, f"constant:{length}", 4000) for length in (1, 4, 16)}
    assert mine > (0.9 if algorithm == "ucb" else 0.75) * max(each.values()), "exp3 draws a fifth of its rounds evenly"
    assert mine > 1.2 * min(each.values()), "or else this test shows nothing"
    assert max(each.values()) <= best_fixed(world, 4000) * 1.02


def test_every_arm_has_its_own_confidence_term():
    policy = build("length", "bandit:arms=1/2,exploration=1")
    assert policy.report() is None
    state = policy.start(context_of([1]), Pace())
    pulled = []
    for _ in range(400):
        length = policy.budget(state)
        pulled.append(length)
        policy.observe(state, Verdict(TokenTree.of_chain(range(length)), range(length), 0), 1.0 if length == 2 else 1.1)
    late = pulled[200:]
    assert late.count(2) > late.count(1) > 0, (
        "with a term that all arms share, the worse one would never be tried again"
    )
    report = policy.report()
    assert [arm["arm"] for arm in report["arms"]] == ["1", "2"]
    assert report["best"] == "2"


def test_a_round_of_many_requests_is_one_round():
    policy = build("length", "bandit:arms=4")
    states = [policy.start(context_of([1]), Pace()) for _ in range(8)]
    for _ in range(11):  # the first round of an arm is not counted
        assert policy.budgets(states) == [4] * 8
        for state in states[:7]:  # the last one had a draft of another source, of which a policy is not told
            policy.observe(state, Verdict(TokenTree.of_chain(range(4)), range(2), 0), 0.5)
    report = policy.report()
    assert (report["rounds"], report["tokens"], report["seconds"]) == (10, 10 * 7 * 3, 5.0)


@pytest.mark.parametrize("algorithm", ["ucb", "exp3"])
def test_a_bandit_finds_the_better_arm_in_a_batch(algorithm):
    policy = build("length", f"bandit:algorithm={algorithm},arms=1/8")
    states = [policy.start(context_of([1]), Pace()) for _ in range(8)]
    pulled = []
    for _ in range(600):
        length = policy.budgets(states)[0]
        pulled.append(length)
        for state in states:  # eight tokens at once take less than twice the time of one
            policy.observe(state, Verdict(TokenTree.of_chain(range(length)), range(length), 0), 1.0 + length / 10)
    assert pulled[300:].count(8) > 0.7 * 300
    assert policy.report()["arms"][1]["rate"] == pytest.approx(8 * 9 / 1.8)


def test_arms_are_written_with_slashes():
    policy = build("length", "bandit:arms=2/8")
    assert policy.arms == (2, 8)
    assert build("length", policy.spec()) == policy
    for wrong in ("bandit:arms=0/2", "bandit:arms=x", "confidence:aggregate=sum"):
        with pytest.raises(InvalidKnob):
            build("length", wrong)


def test_the_best_threshold_is_that_of_the_roc_curve():
    rng = random.Random(5)
    for _ in range(50):
        seen = [(rng.choice((0.2, 0.4, 0.6, 0.8, 0.95)), rng.random() < 0.7) for _ in range(rng.randint(6, 40))]
        held, refused = sum(h for _, h in seen), sum(not h for _, h in seen)
        if not held or not refused:
            assert best_threshold(seen) is None
            continue

        def cost(threshold, seen=seen, held=held, refused=refused):
            wrong = sum(not h and c >= threshold for c, h in seen) / refused
            missed = sum(h and c < threshold for c, h in seen) / held
            return wrong + 3 * missed

        assert cost(best_threshold(seen)) == pytest.approx(min(map(cost, (0.2, 0.4, 0.6, 0.8, 0.95, 1.0))))
    assert best_threshold([(0.5, True)] * 3 + [(0.4, False)] * 2) is None, "five tokens are too few"


def test_a_dynamic_threshold_follows_what_is_accepted():
    policy = build("length", "confidence:threshold=0.4,dynamic=true")
    state = policy.start(context_of([1]), Pace())
    for _ in range(10):
        assert drafted(policy, state, 0.9, 0.9, 0.45) <= 3
        policy.observe(state, Verdict(TokenTree.of_chain(range(len(state.said))), range(min(2, len(state.said))), 0), 0)
    assert 0.45 < state.threshold <= 0.9
    assert drafted(policy, state, 0.9, 0.9, 0.45) == 2
    fixed = build("length", "confidence:threshold=0.4")
    state = fixed.start(context_of([1]), Pace())
    drafted(fixed, state, 0.9, 0.45)
    fixed.observe(state, Verdict(TokenTree.of_chain(range(2)), range(1), 0), 0)
    assert (state.threshold, len(state.seen)) == (0.4, 0)
