"""Whole runs have the target's law, whatever drafts, in whatever shape; and shared random numbers are noticed."""

from __future__ import annotations

from typing import Any

import pytest

from laconic.errors import MethodError
from laconic.policy import Policy, registry
from laconic.speculation.base import TokenTree
from laconic.speculation.drafters.datastore import Datastore
from laconic.speculation.draws import Draws
from laconic.types import Sampling
from tests.speculation.exact import g_excess, plain_law
from tests.speculation.rounds import build, context_of, decode, plain
from tests.speculation.verify.trees import Bushy, Pair, telling_counts, telling_drafts, telling_residual, telling_tests

PROMPT = [1, 2]
MADE_OF = {"hybrid": "hybrid:[suffix]+[draft-model]+[token-recycling:k=2]", "pearl": "pearl:[draft-model]"}
"""Specs of drafters that are made of others."""


def lossless(family: Any) -> list[str]:
    """Names of the methods of a family that promise the target's law."""
    return [name for name in registry.names(family) if registry.get(family, name).card.lossless]


def texts(
    models: Pair, verifier: str, count: int, seeds: range, *, temperature: float = 1.0, budget: int = 3, **methods: Any
) -> tuple[list[tuple[int, ...]], list[TokenTree]]:
    """``count`` tokens from each seed, and all that was drafted for them."""
    target, draft = models
    drafter = build("drafter", methods.get("drafter", "draft-model"))
    shape = build("shape", methods.get("shape", "chain"))
    options = {"draft": draft, "verifier": build("verifier", verifier), "length": build("length", f"constant:{budget}")}
    found, trees = [], []
    for first in range(seeds.start, seeds.stop, 50):
        some = range(first, min(first + 50, seeds.stop))
        contexts = [context_of(PROMPT, Sampling(temperature, seed=seed)) for seed in some]
        found += decode(
            target, contexts, count, drafter, shape=shape, after=lambda _, drafts: trees.extend(drafts), **options
        )
    return [tuple(text) for text in found], trees


def excess(
    models: Pair, verifier: str, runs: int, count: int = 3, *, temperature: float = 1.0, **options: Any
) -> float:
    """G statistic of seeded runs over its critical value; the seeds are fixed, so it is the same on every run."""
    found, _ = texts(models, verifier, count, range(runs), temperature=temperature, **options)
    return g_excess(found, plain_law(models[0], context_of(PROMPT, Sampling(temperature)), count))


def meets(policy: Policy, drafter: Any) -> bool:
    """Whether a fake draft model and ``drafter`` are all that ``policy`` needs."""
    needs = policy.needs
    return not (
        (needs.expand and not drafter.expands)
        or (needs.draft_distribution and not drafter.knows_distribution)
        or needs.thinking
    )


@pytest.mark.parametrize("verifier", lossless("verifier"))
@pytest.mark.parametrize("shape", lossless("shape"))
@pytest.mark.parametrize("drafter", lossless("drafter"))
def test_every_combination_is_exact(drafter, shape, verifier, tmp_path):
    """Greedy, and wherever drafts were not drawn, the text is that of plain decoding; else its law is."""
    needs = registry.get("drafter", drafter).needs
    if needs.target_layers or needs.target_parts:
        pytest.skip("needs a model with layers: drafters/test_head_runs.py, test_itself.py try it with every verifier")
    models = telling_drafts()
    if drafter == "rest":  # which remembers another text than it will write
        Datastore.of([PROMPT + plain(models[0], PROMPT, 30, Sampling(1.0, seed=77))]).save(tmp_path)
        drafter = f"rest:{tmp_path}"
    drafter = MADE_OF.get(drafter, drafter)
    built = build("drafter", drafter)
    if not (meets(build("shape", shape), built) and meets(build("verifier", verifier), built)):
        pytest.skip("needs what this drafter does not have")
    for temperature, runs in ((0.0, 1), (0.5, 100), (1.0, 200)):
        how = {"temperature": temperature, "budget": 6, "drafter": drafter, "shape": shape}
        try:
            found, trees = texts(models, verifier, 12, range(min(runs, 6)), **how)
            if any(tree.draft_probs is not None for tree in trees):
                assert temperature > 0
                assert excess(models, verifier, runs, 2, **how) < 1
                continue
        except MethodError:
            assert verifier == "block", "only block verification refuses a shape"
        else:
            plainly = [plain(models[0], PROMPT, 12, Sampling(temperature, seed=seed)) for seed in range(min(runs, 6))]
            assert found == [tuple(text) for text in plainly]


@pytest.mark.parametrize("verifier", [name for name in lossless("verifier") if name != "block"])
def test_to_change_the_way_of_drafting_from_round_to_round_leaves_the_law_unchanged(verifier):
    arms = "draft-model@constant:2|draft-model@constant:5@k-ary|suffix@constant:2|none"
    drafter = f"bandit:algorithm=exp3,even=1,arms={arms}"
    assert excess(telling_drafts(), verifier, 400, budget=9, drafter=drafter) < 1
    _, trees = texts(telling_drafts(), verifier, 6, range(100), budget=9, drafter=drafter)
    assert {tree.source for tree in trees} == {"draft-model", "suffix", ""}


@pytest.mark.parametrize("verifier", [name for name in lossless("verifier") if name != "block"])
def test_sampled_trees_leave_the_law_unchanged(verifier):
    assert excess(telling_drafts(), verifier, 400, budget=6, shape=Bushy()) < 1


@pytest.mark.parametrize("shape", [*lossless("shape"), "dyspec:per_pass=1"])
def test_the_number_of_independent_siblings_does_not_depend_on_them(shape):
    assert excess(telling_counts(), "importance", 1500, 1, budget=2, shape=shape) < 1


@pytest.mark.parametrize("models", [telling_drafts, telling_tests, telling_residual])
@pytest.mark.parametrize("verifier", ["block", "traversal", "speculative-sampling"])
def test_sampled_chains_leave_the_law_unchanged(verifier, models):
    assert excess(models(), verifier, 500, budget=2) < 1


@pytest.mark.parametrize("verifier", ["block", "traversal"])
def test_drafts_drawn_with_the_numbers_of_a_refused_draft_are_noticed(verifier, monkeypatch):
    honest = Draws.pick

    def planted(self, probs, position, stream=Draws.TOKEN, sub=0):
        return honest(self, probs, position + sub, stream) if stream == Draws.DRAFT else honest(self, probs, position)

    monkeypatch.setattr(Draws, "pick", planted)
    assert excess(telling_drafts(), verifier, 600) > 1
    # Token by token a refusal depends on nothing further down.
    assert excess(telling_drafts(), "speculative-sampling", 600) < 1


@pytest.mark.parametrize("verifier", ["block", "traversal"])
def test_tests_made_with_the_numbers_of_a_failed_test_are_noticed(verifier, monkeypatch):
    honest = Draws.uniform
    monkeypatch.setattr(Draws, "uniform", lambda self, position, stream, sub: honest(self, position + sub, stream))
    assert excess(telling_tests(), verifier, 500, budget=2) > 1


def test_cousins_drawn_with_the_same_numbers_are_noticed():
    assert excess(telling_drafts(), "traversal", 1000, budget=6, shape=Bushy(shared=True)) > 1


def test_a_token_drawn_with_the_numbers_of_the_refused_draft_is_noticed(monkeypatch):
    monkeypatch.setattr(Draws, "DRAFT", Draws.TOKEN)
    assert excess(telling_residual(), "speculative-sampling", 1000, 1, budget=1) > 1
