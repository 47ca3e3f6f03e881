"""How often drafts are accepted: never more than the best coupling there is, never less than theory promises."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from laconic.policy import registry
from laconic.speculation.base import Drafting
from laconic.speculation.draws import Draws
from laconic.speculation.verify.coupling import NodeByNode
from laconic.speculation.verify.selection import best_selection
from laconic.types import Sampling
from tests.fakes import FakeModel
from tests.speculation.exact import integrate, sampled_trees
from tests.speculation.rounds import build, context_of, rows_of
from tests.speculation.verify.trees import telling_drafts

ROUNDING = 1e-6
NODEWISE = [name for name in registry.names("verifier") if issubclass(registry.get("verifier", name), NodeByNode)]
Tuples = dict[tuple[int, ...], float]


def distributions(seed: int, vocab: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A target and a draft distribution, unlike each other."""
    noise = torch.randn(2, vocab, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    p, q = noise.softmax(-1)
    return p, q


def drawn(q: torch.Tensor, count: int, drafting: Drafting) -> Tuples:
    """Law of ``count`` siblings."""
    law: Tuples = {}
    for tokens in itertools.product(range(len(q)), repeat=count):
        weight, left = 1.0, 1.0
        if drafting is Drafting.SAMPLE and len(set(tokens)) < count:
            continue
        for token in tokens:
            weight *= float(q[token]) / left
            left -= float(q[token]) if drafting is Drafting.SAMPLE else 0.0
        law[tokens] = weight
    return law


def optimum(p: torch.Tensor, tuples: Tuples) -> float:
    """Largest probability that the output is one of the drawn tokens: a linear program over all couplings.

    Variables: mass of (tuple, token in it). No tuple gives more than it has, no token gets more than p.
    """
    pairs = [(i, token) for i, tokens in enumerate(tuples) for token in set(tokens)]
    limits = np.zeros((len(tuples) + len(p), len(pairs)))
    for column, (i, token) in enumerate(pairs):
        limits[i, column] = limits[len(tuples) + token, column] = 1
    found = linprog(-np.ones(len(pairs)), A_ub=limits, b_ub=[*tuples.values(), *p.tolist()], method="highs")
    return -float(found.fun)


def acceptance(name: str, p: torch.Tensor, q: torch.Tensor, tuples: Tuples) -> float:
    """Probability that some sibling stands."""
    verifier, total = build("verifier", name), 0.0
    for tokens, weight in tuples.items():

        def run(draws: Draws, tokens: Sequence[int] = tokens) -> bool:
            return verifier.choose(p, q, tokens, lambda rank: draws.uniform(0, Draws.ACCEPT, rank))[0] is not None

        total += weight * integrate(run)[True]
    return total


@pytest.mark.parametrize(("vocab", "count"), [(4, 1), (5, 2), (4, 3), (3, 4)])
@pytest.mark.parametrize("name", NODEWISE)
def test_acceptance_is_between_its_bounds(name, vocab, count):
    drafting = build("verifier", name).drafting
    if drafting is Drafting.SAMPLE and count >= vocab:
        count = vocab - 1
    for seed in range(4):
        p, q = distributions(seed, vocab)
        tuples = drawn(q, count, drafting)
        assert sum(tuples.values()) == pytest.approx(1)
        best, mine, alone = optimum(p, tuples), acceptance(name, p, q, tuples), float(torch.minimum(p, q).sum())
        assert mine <= best + ROUNDING
        assert mine >= alone - ROUNDING
        if count == 1:
            assert best == pytest.approx(alone)
        if name == "k-seq":
            assert mine >= (1 - 1 / math.e) * best
        if name == "importance":
            assert mine == pytest.approx(best, abs=ROUNDING)


def greedy_bound(p: torch.Tensor, q: torch.Tensor, count: int) -> float:
    """The optimum for independent siblings in closed form, min over sets H of p(H) + 1 - q(H)^count.

    The worst sets are those of the lowest p / q.
    """
    order = (p / q).argsort()
    zero = p.new_zeros(1)
    return float((torch.cat([zero, p[order].cumsum(0)]) + 1 - torch.cat([zero, q[order].cumsum(0)]) ** count).min())


def test_the_closed_form_is_the_linear_programs_optimum():
    for seed in range(5):
        p, q = distributions(seed, 4)
        assert greedy_bound(p, q, 3) == pytest.approx(optimum(p, drawn(q, 3, Drafting.REPEAT)), abs=ROUNDING)


@pytest.mark.parametrize("count", [2, 8])
def test_bins_cost_a_large_vocabulary_little(count):
    p, q = distributions(1, 20000)
    choice = best_selection(p, q, count)
    law = choice.law(q)
    assert float(law.sum()) == pytest.approx(1)
    best = greedy_bound(p, q, count)
    assert best - 0.002 < float(torch.minimum(p, law).sum()) <= best + ROUNDING
    tokens = torch.multinomial(q, count, generator=torch.Generator().manual_seed(0)).tolist()
    assert sum(choice.wins(tokens)) == pytest.approx(1)


def accepted_length(name: str, models: tuple[FakeModel, FakeModel], template: list[list[int]]) -> float:
    """Expected number of drafted tokens that stand."""
    target, draft = models
    context, verifier = context_of([1, 2], Sampling(temperature=1.0)), build("verifier", name)
    total = 0.0
    for weight, tree in sampled_trees(draft, context, template, verifier.drafting):
        rows = rows_of(target, context, tree)
        law = integrate(lambda draws, rows=rows, tree=tree: verifier.verify(rows, tree, draws).accepted)
        total += weight * sum(accepted * share for accepted, share in law.items())
    return total


CHAIN, TREE = [[0], [1], [2]], [[0, 1], [2, 3], [4]]


def random_pair(seed: int) -> tuple[FakeModel, FakeModel]:
    target = FakeModel.random(seed, 3, sharpness=1.0)
    return target, target.noisy(seed + 100, 1.0)


@pytest.mark.parametrize("models", [telling_drafts(), *map(random_pair, range(5))])
def test_settling_a_draft_as_a_whole_accepts_more(models):
    chains = {name: accepted_length(name, models, CHAIN) for name in ("speculative-sampling", "block", "traversal")}
    assert chains["block"] >= chains["speculative-sampling"] - ROUNDING
    assert chains["traversal"] == pytest.approx(chains["block"], abs=ROUNDING)
    trees = {name: accepted_length(name, models, TREE) for name in ("speculative-sampling", "traversal")}
    assert trees["traversal"] >= trees["speculative-sampling"] - ROUNDING


def test_the_gain_of_a_whole_is_there():
    gain = {name: accepted_length(name, telling_drafts(), CHAIN) for name in ("speculative-sampling", "block")}
    assert gain["block"] > gain["speculative-sampling"] + 0.05


def test_a_coupling_that_accepts_too_much_is_noticed(monkeypatch):
    monkeypatch.setattr("laconic.speculation.verify.k_seq.scaling", lambda p, q, count: 1.0)
    p, q = distributions(0, 4)
    tuples = drawn(q, 3, Drafting.REPEAT)
    assert acceptance("k-seq", p, q, tuples) > optimum(p, tuples) + ROUNDING


def test_unknown_numbers_are_followed_both_ways():
    law = integrate(lambda draws: (draws.uniform(0) * 2 < 0.5, draws.uniform(0) < 0.5, draws.uniform(1) < 0.3))
    assert law == pytest.approx(
        {
            (True, True, True): 0.075,
            (True, True, False): 0.175,
            (False, True, True): 0.075,
            (False, True, False): 0.175,
            (False, False, True): 0.15,
            (False, False, False): 0.35,
        }
    )
