"""Draft lengths: constant, AIMD, DiffuSpec, SVIP."""

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


def lengths(spec: str, *rounds: tuple[int, int]) -> list[int]:
    """Lengths before, between and after rounds with so many tokens drafted and accepted."""
    policy = build("length", spec)
    state = policy.start(context_of([1]), Pace())
    found = [policy.budget(state)]
    for drafted, accepted in rounds:
        policy.observe(state, Verdict(TokenTree.of_chain(range(drafted)), range(accepted), 0), 0.0)
        found.append(policy.budget(state))
    return found


def test_diffuspec_follows_its_formula():
    """Averages by hand, with half of the past each time: G is what was produced, A what was accepted."""
    spec = "diffuspec:start_tokens=8,increase=4,maximum=20,strict=true"
    # G 8, A 8: kept up, 8 + 4. G (8 + 12) / 2 = 10, A (8 + 6) / 2 = 7: G. G (10 + 10) / 2, A 8.5: G.
    # What the drafter ends sooner shortens the next draft: G (10 + 4) / 2 = 7, A 6.25; G 5.5, A 5.125.
    assert lengths(spec, (8, 8), (12, 6), (10, 10), (4, 4), (4, 4)) == [8, 12, 10, 10, 7, 6]
    assert lengths(spec, *[(20, 0)] * 30)[-1] == 20, "to the letter there is no way down where budgets are filled"


def test_diffuspec_falls_to_what_is_accepted_and_climbs_while_it_keeps_up():
    # The target's token counts: G 5, A (5 + 6) / 2 = 5.5 keeps up: 5 + 2. G (5 + 7) / 2 = 6, A (5.5 + 1) / 2: 3.25.
    assert lengths("diffuspec", (5, 5), (7, 0)) == [5, 7, 3]
    assert lengths("diffuspec", *[(9, 0)] * 30)[-1] == 1
    assert lengths("diffuspec:maximum=12", *[(12, 12)] * 30)[-1] == 12
    assert lengths("diffuspec", *[(6, 5)] * 30)[-1] == 8, "a draft that is one token too long has kept up"


@pytest.mark.parametrize(
    ("tokens", "parents", "produced"),
    [([1, 9, 2], [-1, 0, 1], 2), ([9], [-1], 0), ([1, 2, 3, 9], [-1, 0, 0, 2], 2), ([], [], 0)],
)
def test_diffuspec_counts_up_to_an_end_token(tokens, parents, produced):
    policy = build("length", "diffuspec:memory=0,increase=0,strict=true")
    context = context_of([1])
    context.ends = {9}
    state = policy.start(context, Pace())
    policy.observe(state, Verdict(TokenTree(tokens, parents), (), 0), 0.0)
    assert state.produced == produced
    assert policy.budget(state) == max(produced, 1)


def test_diffuspec_refuses_bounds_out_of_order():
    with pytest.raises(InvalidKnob, match="minimum"):
        build("length", "diffuspec:maximum=3")


@pytest.mark.parametrize("entropy", [0.5, 0.7])
def test_svip_stops_where_the_entropy_bound_passes_the_threshold(entropy):
    # sqrt(0.15 * H) = 0.3 at H = 0.6 nats.
    share = bisect(entropy)
    probs = torch.tensor([1 - share, share, 0.0])
    policy = build("length", "svip")
    assert policy.go_on(None, Node(0, probs, 1 - share)) is (Go.ON if entropy < 0.6 else Go.LAST)
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
