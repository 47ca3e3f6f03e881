"""Lossless verifiers leave the target's distribution as it is: exact laws on small vocabularies."""

from __future__ import annotations

import pytest

from laconic.policy import registry
from laconic.speculation.base import TokenTree
from laconic.speculation.verify import (
    block,
    importance,
    k_seq,
    selection,
    specinfer,
    speculative_sampling,
    traversal,
)
from laconic.types import Sampling
from tests.fakes import FakeModel
from tests.speculation.exact import distance, law_of_text, plain_law, sampled_trees
from tests.speculation.rounds import build, context_of

SAMPLING = Sampling(temperature=1.0)
CHAIN, SIBLINGS, TREE = [[0], [1], [2]], [[0, 1, 2]], [[0, 1], [2, 3], [4]]
LOSSLESS = [name for name in registry.names("verifier") if registry.get("verifier", name).card.lossless]
CHAINS_ONLY = {"block"}


def pair(vocab: int, seed: int = 3, noise: float = 1.0) -> tuple[FakeModel, FakeModel]:
    """A target and a draft model that is often wrong."""
    target = FakeModel.random(seed, vocab, sharpness=1.0)
    return target, target.noisy(seed + 1, noise)


def error(
    name: str,
    template: list[list[int]],
    vocab: int,
    sampling: Sampling = SAMPLING,
    length: int = 3,
    noise: float = 1.0,
) -> float:
    """Largest difference between the law of the next tokens under a verifier and under the target."""
    target, draft = pair(vocab, noise=noise)
    context, verifier = context_of([1, 2], sampling), build("verifier", name)
    trees = sampled_trees(draft, context, template, verifier.drafting)
    return distance(law_of_text(verifier, target, context, trees, length), plain_law(target, context, length))


@pytest.mark.parametrize("verifier", LOSSLESS)
@pytest.mark.parametrize(
    ("template", "vocab"), [(CHAIN, 3), (SIBLINGS, 4), (TREE, 3)], ids=["chain", "siblings", "tree"]
)
def test_sampled_drafts_leave_the_law_unchanged(verifier, template, vocab):
    if verifier in CHAINS_ONLY and template is not CHAIN:
        pytest.skip("refuses sampled trees")
    assert error(verifier, template, vocab) < 1e-6


@pytest.mark.parametrize("verifier", LOSSLESS)
@pytest.mark.parametrize("sampling", [SAMPLING, Sampling(temperature=0.7, top_k=2), Sampling()], ids=repr)
def test_deterministic_trees_leave_the_law_unchanged(verifier, sampling):
    target, _ = pair(4)
    context = context_of([1, 2], sampling)
    tree = TokenTree([3, 0, 1, 0, 2], [-1, -1, 0, 0, 1])
    law = law_of_text(build("verifier", verifier), target, context, iter([(1.0, tree)]), 3)
    assert distance(law, plain_law(target, context, 3)) < 1e-6


@pytest.mark.parametrize("verifier", LOSSLESS)
@pytest.mark.parametrize("filters", [{"top_k": 2}, {"min_p": 0.1}], ids=repr)
def test_filters_that_differ_between_draft_and_target(verifier, filters):
    template = CHAIN if verifier in CHAINS_ONLY else [[0, 1], [2]]
    assert error(verifier, template, 4, Sampling(temperature=0.5, **filters)) < 1e-6


@pytest.mark.parametrize("noise", [2.0, 3.0])
@pytest.mark.parametrize("verifier", LOSSLESS)
def test_drafts_that_are_far_off_leave_the_law_unchanged(verifier, noise):
    """Then one number that decides two things shows: where drafts are good, the first sibling is mostly taken."""
    template = [[0]] if verifier in CHAINS_ONLY else SIBLINGS
    assert error(verifier, template, 4, length=2, noise=noise) < 1e-6


def test_many_tokens_share_keys_and_the_law_stays_exact(monkeypatch):
    monkeypatch.setattr(selection, "_BINS", 2)
    assert error("importance", SIBLINGS, 4) < 1e-6


def skewed(p, q):
    return (q - p).clamp_min(0) / (q - p).clamp_min(0).sum()


FAULTS = {
    "refused token drawn from p": ("speculative-sampling", speculative_sampling, "residual", lambda p, q: p, [[0]]),
    "unnormalised siblings": ("speculative-sampling", speculative_sampling, "without", lambda q, token: q, SIBLINGS),
    "residual of the wrong sign": ("speculative-sampling", speculative_sampling, "residual", skewed, [[0]]),
    "siblings with the first's residual": ("specinfer", specinfer, "residual", lambda p, q: p, SIBLINGS),
    "scale below the valid one": ("k-seq", k_seq, "scaling", lambda p, q, count: 1.0, SIBLINGS),
    "one test granted": ("k-seq", k_seq, "granted", lambda p, q, count, scale: (0.0, 1.0), SIBLINGS),
    "siblings drawn again": ("traversal", traversal, "without", lambda q, token: q, TREE),
    "nothing owed to siblings": ("traversal", traversal, "residual", lambda p, q: p, TREE),
}


def unchosen(self, p, q, tokens, uniform):
    """The draft's own law in place of that of the chosen draw."""
    choice = selection.best_selection(p, q, len(tokens))
    taken = next((i for i in range(len(tokens) - 1) if uniform(0) < sum(choice.wins(tokens)[: i + 1])), -1)
    if uniform(1) * float(q[tokens[taken]]) < float(p[tokens[taken]]):
        return taken % len(tokens), p
    return None, (p - q).clamp_min(0)


@pytest.mark.parametrize("name", FAULTS)
def test_a_broken_rule_is_caught(name, monkeypatch):
    verifier, where, function, broken, template = FAULTS[name]
    monkeypatch.setattr(where, function, broken)
    assert error(verifier, template, 3 if template is TREE else 4, length=2) > 1e-3


def test_a_wrong_law_of_the_chosen_draw_is_caught(monkeypatch):
    monkeypatch.setattr(importance.Importance, "choose", unchosen)
    assert error("importance", SIBLINGS, 4, length=2) > 1e-3


@pytest.mark.parametrize(("name", "template"), [("block", CHAIN), ("traversal", CHAIN), ("traversal", TREE)])
def test_a_path_that_earns_too_little_is_caught(name, template, monkeypatch):
    """Half of what the last tested child has earned is lost on the way."""
    if name == "block":
        honest = block.drafted_from
        monkeypatch.setattr(block, "drafted_from", lambda tree, siblings: honest(tree, siblings) * 2)
    else:
        accepted = traversal.Climb.accepted
        monkeypatch.setattr(
            traversal.Climb,
            "accepted",
            lambda self, node, earned: accepted(self, node, earned if node == self.root else earned / 2),
        )
    assert error(name, template, 3) > 1e-3
