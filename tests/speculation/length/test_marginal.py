"""The marginal rule against brute force, on chains of tokens whose chances and costs are known."""

from __future__ import annotations

import random

import pytest

from laconic.speculation.base import Go, Node, TokenTree, Verdict
from laconic.speculation.pace import Line, Pace
from tests.speculation.length.world import World, best_fixed, rate
from tests.speculation.rounds import build, context_of


def best_threshold(world: World, rounds: int, seed: int = 0) -> float:
    """The best rule that knows all chances: go on while the product of chances stays above a threshold."""

    def rule(threshold: float, last: float):
        product = 1.0

        def decide(depth, chance):
            nonlocal product
            if depth < 0:
                product = 1.0
                return Go.ON
            product *= chance
            return Go.STOP if product < last and depth else Go.LAST if product < threshold else Go.ON

        return decide

    grid = (0.01, 0.03, 0.06, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    return max(world.play(rule(a, b), rounds, seed) for a in grid for b in (0.0, 0.02, 0.05, 0.1, 0.2) if b <= a)


WORLDS = {
    "cheap drafts": World(0.95, 0.4, 0.9, 0.02, 0.02),
    "dear drafts": World(0.95, 0.4, 0.9, 0.02, 0.25),
    "dear nodes": World(0.9, 0.3, 0.8, 0.2, 0.02),
    "free drafts": World(0.8, 0.2, 0.7, 0.03, 0.0),
    "always sure": World(0.98, 0.98, 0.5, 0.03, 0.05),
    "a drafter too sure of itself": World(0.9, 0.3, 0.85, 0.03, 0.1, lie=-0.7),
    "a drafter that doubts itself": World(0.95, 0.6, 0.85, 0.03, 0.05, lie=3.0),
}


@pytest.mark.parametrize("name", WORLDS)
def test_as_good_as_the_best_rule_in_hindsight(name):
    world = WORLDS[name]
    rounds = 4000
    mine = rate(world, "marginal", rounds)
    assert mine >= 0.97 * best_fixed(world, rounds), "the best fixed length"
    assert mine >= 0.95 * best_threshold(world, rounds), "the best threshold on the true chances"


def test_drafts_that_cannot_pay_are_left_out():
    world = World(0.3, 0.1, 0.9, 0.4, 0.5)
    plain = world.play(lambda depth, chance: Go.STOP, 3000)
    assert rate(world, "marginal", 3000) >= 0.95 * plain
    fixed = world.play(lambda depth, chance: Go.ON if depth < 3 else Go.LAST, 3000)
    assert fixed < 0.7 * plain, "or else this test shows nothing"


def test_nothing_is_assumed_before_anything_is_measured():
    policy = build("length", "marginal")
    state = policy.start(context_of([1]), Pace())
    assert policy.budget(state) == 4
    assert policy.go_on(state, Node(0, None, 0.01)) is Go.ON


def test_requests_share_what_they_learn():
    policy, pace = build("length", "marginal"), Pace()
    for _ in range(30):
        pace.record(nodes=4, tokens=2, draft_passes=3, draft=0.3, score=1.0, rest=0.0)
    first = policy.start(context_of([1]), pace)
    fresh = policy.go_on(policy.start(context_of([2]), pace), Node(0, None, 0.9))
    assert fresh is Go.ON
    for _ in range(200):  # what is said to be 90 % sure never holds
        policy.budget(first)
        policy.go_on(first, Node(0, None, 0.9))
        policy.observe(first, Verdict(TokenTree.of_chain([1]), (), 0), 0.0)
    assert policy.budget(policy.start(context_of([2]), pace)) == 0
    assert policy.go_on(policy.start(context_of([2]), pace), Node(0, None, 0.9)) is not Go.ON


def test_rounds_that_wrote_nothing_say_nothing_of_what_a_token_costs():
    """A request that waits for a probe takes time and writes nothing."""
    policy, pace, context = build("length", "marginal"), Pace(), context_of([1])
    state = policy.start(context, pace)
    costs = []
    for written in (0, 1, 2, 0, 0, 0):
        context.tokens += [0] * written
        pace.record(nodes=2, tokens=3, draft_passes=1, draft=0.1, score=1.0, rest=0.0)
        policy.budgets([state])
        costs.append((state.written, state.seconds))
    assert costs[2][0] > 0
    assert costs[3] == costs[4] == costs[5] == costs[2]


def test_pace_finds_the_costs_and_believes_no_interruption():
    pace = Pace()
    rng = random.Random(0)
    for round_ in range(300):
        nodes = rng.randint(1, 12)
        slow = 40.0 if round_ % 50 == 49 else 1.0
        seconds = slow * (0.02 + 0.001 * nodes) * rng.uniform(0.95, 1.05)
        pace.record(nodes=nodes, tokens=2, draft_passes=4, draft=0.004, score=seconds, rest=0.0)
    assert pace.node(6) == pytest.approx(0.001, rel=0.5)
    assert pace.draft_pass == pytest.approx(0.001)
    assert pace.target_pass(1) == pytest.approx(0.021, rel=0.15)


def test_pace_knows_that_the_second_node_costs_more_than_the_tenth():
    pace = Pace()
    rng = random.Random(1)
    for _ in range(300):
        nodes = rng.choice((1, *range(2, 33)))
        seconds = 0.02 + (0.006 if nodes > 1 else 0.0) + 0.0002 * nodes
        pace.record(nodes=nodes, tokens=2, draft_passes=1, draft=0.001, score=seconds, rest=0.0)
    assert pace.node(12) == pytest.approx(0.0002, rel=0.3)
    assert pace.target_pass(8) - pace.target_pass(1) == pytest.approx(0.0074, rel=0.3)


def test_lines_through_passes_add_up():
    rng, first, second, both = random.Random(2), Line(), Line(), Line()
    for line in (first, second):
        for _ in range(30):
            line.add(rng.randint(1, 9), rng.random())
    total = first + second
    for line in (first, second):
        both.weight += line.weight
    for name in ("nodes", "seconds"):
        mean = (first.weight * getattr(first, name) + second.weight * getattr(second, name)) / both.weight
        assert getattr(total, name) == pytest.approx(mean)
    plain = Line()
    for nodes, seconds in ((1, 1.0), (3, 5.0)):
        plain.add(nodes, seconds)
    assert plain.product / plain.spread == pytest.approx(2.0, rel=0.05), "the slope through two passes"


@pytest.mark.parametrize("node", [0.02, 0.3])
def test_the_rule_sizes_trees_by_the_chance_of_each_path(node):
    policy, pace = build("length", "marginal"), Pace()
    for nodes in [*range(1, 40)] * 20:
        pace.record(nodes=nodes, tokens=2, draft_passes=1, draft=0.001, score=1.0 + node * nodes, rest=0.0)
    state = policy.start(context_of([1]), pace)
    assert policy.budget(state)
    state.cells += [(0, 0)] * 8
    kept = policy.go_on(state, Node(3, None, 0.9, path=0.05)) is not Go.STOP
    assert kept is (node < 0.1)
    tree = TokenTree([1, 2, 3], [-1, -1, 0])
    state.cells.clear()
    for depth, confidence, path in ((0, 0.9, 1.0), (0, 0.7, 1.0), (1, 0.8, 0.9)):
        policy.go_on(state, Node(depth, None, confidence, path))
    before = dict(state.own.seen)
    policy.observe(state, Verdict(tree, [0], 9), 0.0)
    assert sum(state.own.seen.values()) - sum(before.values()) == 6, "three tokens, by bin and by bin and depth"


def test_prompts_in_a_pass_are_no_cost_of_writing():
    pace, mixed = Pace(), Pace()
    for round_ in range(200):
        for each, given in ((pace, 0), (mixed, 40 if round_ % 4 == 0 else 0)):
            nodes = 5 + round_ % 7 + given
            each.record(nodes=nodes, given=given, tokens=3, draft_passes=0, draft=0.0, score=1 + 0.1 * nodes, rest=0.0)
    assert mixed.token == pytest.approx(pace.token, rel=0.05)


@pytest.mark.parametrize("requests", [4, 64])
def test_a_batch_stops_where_passes_begin_to_cost(requests):
    """Up to 128 nodes a pass costs the same, beyond that each costs nearly what an average token does."""
    policy, pace, rng = build("length", "marginal"), Pace(), random.Random(3)
    contexts = [context_of([1]) for _ in range(requests)]
    states = [policy.start(context, pace) for context in contexts]
    lengths = []
    for _ in range(400):
        sizes = []
        for state, context, budget in zip(states, contexts, policy.budgets(states), strict=True):
            drafted, judge = 0, policy.judge(state)
            while drafted < budget:
                go = judge(Node(drafted, None, 0.95)) if judge else Go.ON
                drafted += go is not Go.STOP
                if go is not Go.ON:
                    break
            held = 0
            while held < drafted and rng.random() < 0.95:
                held += 1
            context.tokens += [0] * (held + 1)
            sizes.append((drafted, held))
            if drafted:
                policy.observe(state, Verdict(TokenTree.of_chain(range(drafted)), range(held), 0), 0.0)
        nodes, passes = sum(1 + drafted for drafted, _ in sizes), max(drafted for drafted, _ in sizes)
        score = 0.01 + 0.00008 * max(nodes - 128, 0)
        pace.record(nodes=nodes, tokens=requests + sum(held for _, held in sizes), draft_passes=passes,
                    draft=0.002 * passes, score=score, rest=0.0)  # fmt: skip
        lengths.append(passes)
    late = sorted(lengths[200:])[100]
    assert late <= 3 if requests == 64 else late >= 5
