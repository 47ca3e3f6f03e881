"""Under a transform the output has the transformed law, exactly; greedy output is its likeliest tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
import torch

from laconic.policy import registry
from laconic.speculation.base import Context, Drafting
from laconic.speculation.draws import warp
from laconic.types import Sampling
from tests.fakes import FakeModel
from tests.speculation.exact import distance, g_excess, law_of_text, plain_law, sampled_trees
from tests.speculation.rounds import build, context_of, decode, plain

SPECS = [
    "cascade:rule=chow,alpha=0.5",
    "cascade:rule=diff,alpha=0.1",
    "cascade:rule=opt,alpha=0.5",
    "ensemble:weight=0.7",
    "contrastive",
    *registry.names("transform"),
]
SELF = ["cascade:rule=chow,alpha=-1", "cascade:rule=diff,alpha=-2", "ensemble:weight=1", "contrastive:alpha=0,beta=0"]
"""Settings that leave the target as it is."""
COUPLINGS = ["match", "speculative-sampling", "specinfer", "block", "traversal"]


def pair() -> tuple[FakeModel, FakeModel]:
    target = FakeModel.random(3, 4, sharpness=1.0)
    return target, target.noisy(4, 1.0)


def blended(spec: str, target: FakeModel, draft: FakeModel) -> FakeModel:
    """A model whose own distribution is the transformed one."""
    rows = [model.table.softmax(-1).reshape(-1, 4) for model in (target, draft)]
    return FakeModel(build("transform", spec).apply(*rows).log().reshape(4, 4, 4))


@dataclass
class Row:
    """What the drafter thinks comes after a node."""

    probs: torch.Tensor


def with_rows(draft: FakeModel, context: Context, template: list[list[int]], drafting: Drafting) -> Iterator:
    """Sampled trees with the rows that the drafter looked at: those of all nodes that have children."""
    for weight, tree in sampled_trees(draft, context, template, drafting):
        rows = {}
        for node in {-1, *tree.parents}:
            path, above = [], node
            while above >= 0:
                path.append(tree.tokens[above])
                above = tree.parents[above]
            rows[node] = Row(warp(draft.after(context.tokens + path[::-1]), context.sampling))
        yield weight, replace(tree, rows=rows)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("verifier", COUPLINGS)
def test_the_law_is_the_transformed_one(verifier, spec):
    target, draft = pair()
    context, built = context_of([1, 2], Sampling(1.0)), build("verifier", f"{verifier}:transform=[{spec}]")
    template = [[0], [1]] if verifier == "block" else [[0, 1], [2]]
    goal = blended(spec, target, draft)
    # What the round leaves open is decided by later rounds, which have the transformed law too.
    law = law_of_text(built, target, context, with_rows(draft, context, template, built.drafting), 3, after=goal)
    assert distance(law, plain_law(goal, context, 3)) < 1e-5
    assert distance(law, plain_law(target, context, 3)) > 1e-3


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("verifier", COUPLINGS)
def test_greedy_output_is_the_likeliest_of_the_result(verifier, spec):
    target, draft = pair()
    options = {"draft": draft, "verifier": build("verifier", f"{verifier}:transform=[{spec}]")}
    text = decode(target, [context_of([1, 2])], 20, build("drafter", "draft-model"), **options)[0]
    assert text == plain(blended(spec, target, draft), [1, 2], 20)


@pytest.mark.parametrize("spec", ["ensemble", "cascade:rule=diff,alpha=0.1"])
@pytest.mark.parametrize("verifier", ["match", "block"])
def test_whole_runs_have_the_transformed_law(verifier, spec):
    target, draft = pair()
    options = {
        "draft": draft,
        "verifier": build("verifier", f"{verifier}:transform=[{spec}]"),
        "length": build("length", "constant:2"),
    }
    contexts = [context_of([1, 2], Sampling(1.0, seed=seed)) for seed in range(800)]
    texts = [tuple(text) for text in decode(target, contexts, 3, build("drafter", "draft-model"), **options)]
    context = context_of([1, 2], Sampling(1.0))
    assert g_excess(texts, plain_law(blended(spec, target, draft), context, 3)) < 1
    assert g_excess(texts, plain_law(target, context, 3)) > 1


@pytest.mark.parametrize("spec", SELF)
def test_some_settings_leave_the_target_as_it_is(spec):
    p, q = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0)).softmax(-1)
    assert torch.allclose(build("transform", spec).apply(p, q), p, atol=1e-6)


def test_rules_of_the_cascade():
    p, q = torch.tensor([[0.7, 0.2, 0.1]]), torch.tensor([[0.2, 0.5, 0.3]])

    def deferred(rule: str, alpha: float) -> bool:
        return torch.equal(build("transform", f"cascade:rule={rule},alpha={alpha}").apply(p, q), p)

    # max q = 0.5, max p = 0.7, TV = 0.5
    assert deferred("chow", 0.49)
    assert not deferred("chow", 0.51)
    assert deferred("diff", 0.19)
    assert not deferred("diff", 0.21)
    assert deferred("opt", 0.39)
    assert not deferred("opt", 0.41)


def test_contrast_keeps_to_plausible_tokens():
    p, q = torch.tensor([[0.6, 0.35, 0.05]]), torch.tensor([[0.6, 0.4, 0.0]])
    out = build("transform", "contrastive:alpha=0.1,beta=1").apply(p, q)
    assert out[0, 2] == 0
    assert out[0, 0] / out[0, 1] == pytest.approx((0.36 / 0.6) / (0.1225 / 0.4))


@pytest.mark.parametrize("name", registry.names("transform"))
def test_transforms_say_that_they_are_not_lossless(name):
    cls = registry.get("transform", name)
    assert not cls.card.lossless
    assert cls.needs.draft_distribution
