"""Draft lengths: constant, AIMD, SVIP."""

from __future__ import annotations

import math

import pytest
import torch

from laconic.errors import InvalidKnob
from laconic.speculation.base import Go, Node, TokenTree, Verdict
from laconic.speculation.pace import Pace
from tests.speculation.rounds import build, context_of


def test_constant():
    policy = build("length", "constant:7")
    state = policy.start(context_of([1]), Pace())
    assert policy.budget(state) == 7
    assert not policy.judges


def test_aimd_climbs_by_two_and_falls_by_one():
    policy = build("length", "aimd:maximum=8")
    state = policy.start(context_of([1]), Pace())
    lengths = [policy.budget(state)]
    for accepted in (5, 7, 3, 0, 0):
        tree = TokenTree.of_chain(range(policy.budget(state)))
        policy.observe(state, Verdict(tree, range(accepted), 0), 0.0)
        lengths.append(policy.budget(state))
    assert lengths == [5, 7, 8, 7, 6, 5]


def test_aimd_never_leaves_its_bounds():
    policy = build("length", "aimd:minimum=2,start_tokens=2,decrease=9")
    state = policy.start(context_of([1]), Pace())
    policy.observe(state, Verdict(TokenTree.of_chain([1, 2]), (), 0), 0.0)
    assert policy.budget(state) == 2


@pytest.mark.parametrize(("path", "tokens"), [((0, 2), 7), ((1,), 7), ((0,), 4), ((), 4)])
def test_aimd_takes_a_leaf_for_full_acceptance(path, tokens):
    policy = build("length", "aimd")
    state = policy.start(context_of([1]), Pace())
    policy.observe(state, Verdict(TokenTree([1, 2, 3], [-1, -1, 0]), path, 0), 0.0)
    assert policy.budget(state) == tokens


def test_aimd_refuses_bounds_out_of_order():
    with pytest.raises(InvalidKnob):
        build("length", "aimd:maximum=3")


@pytest.mark.parametrize("entropy", [0.5, 0.7])
def test_svip_stops_where_the_entropy_bound_passes_the_threshold(entropy):
    # sqrt(0.15 * H) = 0.3 at H = 0.6 nats.
    share = bisect(entropy)
    probs = torch.tensor([1 - share, share, 0.0])
    policy = build("length", "svip")
    assert policy.go_on(None, Node(0, probs, 1 - share)) is (Go.ON if entropy < 0.6 else Go.STOP)
    assert policy.budget(None) == 16


def bisect(entropy: float) -> float:
    """The smaller share of two outcomes whose entropy is ``entropy`` nats."""
    if entropy >= math.log(2):
        return 0.5
    low, high = 0.0, 0.5
    for _ in range(60):
        x = (low + high) / 2
        h = -x * math.log(x) - (1 - x) * math.log(1 - x)
        low, high = (x, high) if h < entropy else (low, x)
    return low


@pytest.mark.parametrize("spec", ["constant:0", "svip:threshold=-1", "svip:threshold=nan", "aimd:minimum=0"])
def test_knobs_are_checked(spec):
    with pytest.raises(InvalidKnob):
        build("length", spec)
