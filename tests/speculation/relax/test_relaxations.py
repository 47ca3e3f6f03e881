"""What a relaxation lets stand, and that it says so."""

from __future__ import annotations

import math

import pytest
import torch

from laconic import Engine, Limits, Methods
from laconic.models.causal_lm import CausalLM
from laconic.policy import registry
from laconic.speculation.base import Refused, TokenTree
from laconic.types import Sampling
from tests import tiny
from tests.fakes import FakeModel
from tests.speculation.exact import distance, integrate, law_of_text, plain_law, sampled_trees
from tests.speculation.rounds import build, context_of, decode, plain, rows_of

NOTHING = {
    "entropy-gate": "entropy-gate:threshold=1",
    "epsilon": "epsilon:epsilon=1",
    "lenience": "lenience:leniency=1",
    "top-k": "top-k:k=0",
    "typical": "typical:epsilon=1,delta=1e9",
}
"""For each relaxation the setting that lets nothing stand; those that look at hidden states have tests of their own."""
COUPLINGS = ["match", "speculative-sampling", "specinfer", "block", "traversal"]


def test_every_relaxation_is_tried():
    blind = {name for name in registry.names("relaxation") if not registry.get("relaxation", name).needs.target_hidden}
    assert set(NOTHING) == blind


def pair(vocab: int = 4) -> tuple[FakeModel, FakeModel]:
    target = FakeModel.random(3, vocab, sharpness=1.0)
    return target, target.noisy(4, 1.0)


@pytest.mark.parametrize("name", NOTHING)
@pytest.mark.parametrize("verifier", COUPLINGS)
def test_at_its_strictest_it_is_exact(verifier, name):
    target, draft = pair()
    verifier = build("verifier", f"{verifier}:relax=[{NOTHING[name]}]")
    context = context_of([1, 2], Sampling(1.0))
    law = law_of_text(verifier, target, context, sampled_trees(draft, context, [[0], [1]], verifier.drafting), 3)
    assert distance(law, plain_law(target, context, 3)) < 1e-6
    text = decode(target, [context_of([1, 2])], 20, build("drafter", "draft-model"), draft=draft, verifier=verifier)[0]
    assert text == plain(target, [1, 2], 20)


@pytest.mark.parametrize("name", NOTHING)
@pytest.mark.parametrize("verifier", COUPLINGS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_it_accepts_more(name, verifier, temperature):
    """More drafted tokens stand than without, and the output is another."""
    target, draft = pair(6)
    accepted, texts = [], []
    for spec in (verifier, f"{verifier}:relax=[{name}]"):
        kept: list[int] = []
        contexts = [context_of([seed % 6, seed // 6], Sampling(temperature, seed=seed)) for seed in range(36)]
        built = build("verifier", spec)
        verdicts = Counting(built, kept)
        texts.append(decode(target, contexts, 8, build("drafter", "draft-model"), draft=draft, verifier=verdicts))
        accepted.append(sum(kept) / len(kept))
    assert accepted[1] > accepted[0]
    assert texts[0] != texts[1]


class Counting:
    """A verifier whose accepted lengths are written down."""

    def __init__(self, verifier, kept):
        self.verifier, self.kept, self.drafting = verifier, kept, verifier.drafting

    def verify(self, *given):
        verdict = self.verifier.verify(*given)
        self.kept.append(verdict.accepted)
        return verdict


@pytest.mark.parametrize("name", NOTHING)
def test_results_say_that_they_are_not_lossless(name):
    model = tiny.model(0, bias=tiny.REASONER)
    target, draft = CausalLM(model), CausalLM(tiny.noisy(model, 0.1))
    for verifier, lossless in (("block", True), (f"block:relax=[{name}]", False)):
        engine = Engine(target, tiny.text(), Methods(drafter="draft-model", verifier=verifier), draft)
        assert engine.generate("1+1?", limits=Limits(4)).lossless is lossless


@pytest.mark.parametrize("leniency", [0.3, 0.7])
def test_lenience_accepts_with_the_lenient_ratio(leniency):
    target, draft = pair()
    context = context_of([1, 2], Sampling(1.0))
    p, q = (model.after(context.tokens).softmax(-1) for model in (target, draft))
    verifier = build("verifier", f"speculative-sampling:relax=[lenience:leniency={leniency}]")
    for _, tree in sampled_trees(draft, context, [[0]]):
        rows, token = rows_of(target, context, tree), tree.tokens[0]
        law = integrate(lambda draws, rows=rows, tree=tree: verifier.verify(rows, tree, draws).accepted)
        assert law[1] == pytest.approx(min(1.0, float(p[token] / q[token]) / leniency), abs=1e-6)
    tree = TokenTree.of_chain([2])
    rows = rows_of(target, context, tree)
    law = integrate(lambda draws: verifier.verify(rows, tree, draws).accepted)
    assert law[1] == pytest.approx(min(1.0, float(p[2]) / leniency), abs=1e-6)


def test_thresholds():
    p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    entropy = -sum(float(x) * math.log(float(x)) for x in p)

    def stand(spec: str) -> list[int]:
        return [token for token in range(4) if build("relaxation", spec).chance(Refused(token, p)) == 1]

    assert stand("top-k:k=1") == [0]
    assert stand("top-k:k=3") == [0, 1, 2]
    assert stand("epsilon:epsilon=0.2") == [0, 1]
    assert stand("typical:epsilon=0.1,delta=1") == [0, 1, 2]
    assert stand(f"typical:epsilon=1,delta={0.2 * math.exp(entropy)}") == [0, 1]
    share = entropy / math.log(4)
    assert stand(f"entropy-gate:threshold={share - 0.01},floor=0.1") == [0, 1, 2]
    assert stand(f"entropy-gate:threshold={share + 0.01}") == []


def test_a_pardoned_token_is_followed_by_what_is_below_it():
    target = FakeModel.random(1)
    wrong = (plain(target, [1, 2], 1)[0] + 1) % 8
    for verifier in ("match", "block", "traversal"):
        context = context_of([1, 2])
        after = plain(target, [1, 2, wrong], 2)
        tree = TokenTree.of_chain([wrong, after[0]])
        verdict = build("verifier", f"{verifier}:relax=[top-k:k=8]").verify(
            rows_of(target, context, tree), tree, context.draws
        )
        assert verdict.tokens == [wrong, *after]
