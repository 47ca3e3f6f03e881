"""Verifiers leave the target's distribution as it is: exact laws on small vocabularies, then seeded whole runs."""

from __future__ import annotations

import pytest
import torch

from laconic.speculation.base import TokenTree
from laconic.speculation.draws import Draws
from laconic.speculation.verify import speculative_sampling
from laconic.types import Sampling
from tests.fakes import FakeModel
from tests.speculation.exact import distance, g_excess, integrate, law_of_text, plain_law, sampled_trees
from tests.speculation.rounds import build, context_of, decode, rows_of

SAMPLING = Sampling(temperature=1.0)
CHAIN, SIBLINGS, TREE = [[0], [1]], [[0, 1, 2]], [[0, 1], [2, 3], [4]]


def pair(vocab: int, seed: int = 3) -> tuple[FakeModel, FakeModel]:
    """A target and a draft model that is often wrong."""
    target = FakeModel.random(seed, vocab, sharpness=1.0)
    return target, target.noisy(seed + 1, 1.0)


@pytest.mark.parametrize("verifier", ["match", "speculative-sampling"])
@pytest.mark.parametrize(
    ("template", "vocab"), [(CHAIN, 4), (SIBLINGS, 4), (TREE, 3)], ids=["chain", "siblings", "tree"]
)
def test_sampled_drafts_leave_the_law_unchanged(verifier, template, vocab):
    target, draft = pair(vocab)
    context = context_of([1, 2], SAMPLING)
    law = law_of_text(build("verifier", verifier), target, context, sampled_trees(draft, context, template), 3)
    assert distance(law, plain_law(target, context, 3)) < 1e-6


@pytest.mark.parametrize("verifier", ["match", "speculative-sampling"])
@pytest.mark.parametrize("sampling", [SAMPLING, Sampling(temperature=0.7, top_k=2), Sampling()], ids=repr)
def test_deterministic_trees_leave_the_law_unchanged(verifier, sampling):
    target, _ = pair(4)
    context = context_of([1, 2], sampling)
    tree = TokenTree([3, 0, 1, 0, 2], [-1, -1, 0, 0, 1])
    law = law_of_text(build("verifier", verifier), target, context, iter([(1.0, tree)]), 3)
    assert distance(law, plain_law(target, context, 3)) < 1e-6


@pytest.mark.parametrize("filters", [{"top_k": 2}, {"min_p": 0.3}], ids=repr)
def test_filters_that_differ_between_draft_and_target(filters):
    target, draft = pair(4)
    context = context_of([1, 2], Sampling(temperature=0.8, **filters))
    trees = sampled_trees(draft, context, CHAIN)
    law = law_of_text(build("verifier", "speculative-sampling"), target, context, trees, 3)
    assert distance(law, plain_law(target, context, 3)) < 1e-6


BREAKAGES = {
    "refused token drawn from p": ("residual", lambda p, q: p, [[0]]),
    "unnormalised siblings": ("without", lambda q, token: q, SIBLINGS),
    "residual of the wrong sign": ("residual", lambda p, q: (q - p).clamp_min(0) / (q - p).clamp_min(0).sum(), [[0]]),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_broken_rule_is_caught(name, monkeypatch):
    function, broken, template = BREAKAGES[name]
    monkeypatch.setattr(speculative_sampling, function, broken)
    target, draft = pair(4)
    context = context_of([1, 2], SAMPLING)
    verifier = build("verifier", "speculative-sampling")
    law = law_of_text(verifier, target, context, sampled_trees(draft, context, template), 2)
    assert distance(law, plain_law(target, context, 2)) > 1e-3


def seeded_texts(runs: int, verifier: str, length: str = "svip:threshold=0.4") -> tuple[list[tuple[int, ...]], dict]:
    """Two tokens from each of ``runs`` seeds with a draft model, and the law they should have."""
    target, draft = pair(6)
    texts = []
    for first in range(0, runs, 50):
        contexts = [context_of([1, 2], Sampling(temperature=1.0, seed=seed)) for seed in range(first, first + 50)]
        options = {"draft": draft, "verifier": build("verifier", verifier), "length": build("length", length)}
        texts += [tuple(text) for text in decode(target, contexts, 2, build("drafter", "draft-model"), **options)]
    return texts, plain_law(target, context_of([1, 2], SAMPLING), 2)


@pytest.mark.parametrize("verifier", ["match", "speculative-sampling"])
def test_seeded_runs_have_the_targets_law(verifier):
    # A G test at 1e-6; the seeds are fixed, so the outcome is the same on every run.
    assert g_excess(*seeded_texts(3000, verifier)) < 1


def test_the_g_test_notices_shared_random_numbers(monkeypatch):
    # The draw after a refusal must not be made with the numbers that made the refused draft.
    monkeypatch.setattr(Draws, "DRAFT", Draws.TOKEN)
    assert g_excess(*seeded_texts(6000, "speculative-sampling", "constant:2")) > 1


def test_speculative_sampling_accepts_more_than_match_where_draws_are_independent():
    target, draft = pair(4)
    context = context_of([1, 2], SAMPLING)
    p = target.after(context.tokens).softmax(-1)
    q = draft.after(context.tokens).softmax(-1)
    rates = {}
    for name in ("match", "speculative-sampling"):
        texts = list(sampled_trees(draft, context, [[0]]))
        verifier = build("verifier", name)
        rates[name] = sum(weight * acceptance(verifier, target, context, tree) for weight, tree in texts)
    assert rates["match"] == pytest.approx(float((p * q).sum()), abs=1e-5)
    assert rates["speculative-sampling"] == pytest.approx(float(torch.minimum(p, q).sum()), abs=1e-5)


def acceptance(verifier, target, context, tree) -> float:
    """Probability that the first token stands."""
    rows = rows_of(target, context, tree)

    def run(draws: Draws) -> tuple[int, int]:
        verdict = verifier.verify(rows, tree, draws)
        return verdict.accepted, verdict.tokens[0]

    return sum(share for (accepted, _), share in integrate(run).items() if accepted)
