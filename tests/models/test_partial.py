"""Passes through part of a model's layers: what runs, what is left out, and what the whole model sees of it after."""

from __future__ import annotations

import copy
from contextlib import closing

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from laconic.errors import RequestError, UnsupportedModel
from laconic.models.base import RunsParts, ScoreTree, chain
from laconic.models.cache_host import CacheHost
from laconic.models.causal_lm import CausalLM
from laconic.models.partial import WHOLE, LayerPlan

TEXT = [(7 * i * i + 3 * i) % 90 for i in range(40)]
KINDS = ["written-out", "slots", "own kernels"]
PLANS = {
    "first two": LayerPlan.first(2, of=4),
    "not the third": LayerPlan.without([2]),
    "none": LayerPlan.without(range(4)),
    "without an attention": LayerPlan(attention=frozenset({1})),
    "without two networks and a layer": LayerPlan(frozenset({2}), frozenset({0, 2, 3})),
}


def original() -> LlamaForCausalLM:
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=96, hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=2,
        num_key_value_heads=1, head_dim=32, max_position_embeddings=512,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def model(kind: str) -> CausalLM:
    if kind != "own kernels":
        return CausalLM(original(), written_out=kind == "written-out")
    made = CausalLM(original().to(torch.bfloat16))
    if made.path != "written-out, own kernels":
        pytest.skip("the project's kernels cannot be had on this machine")
    return made


def cut(plan: LayerPlan, dtype: torch.dtype) -> LlamaForCausalLM:
    """The model that a plan leaves, made by surgery: what is left out adds nothing."""
    made = copy.deepcopy(original())
    for layer in plan.attention:
        made.model.layers[layer].self_attn.o_proj.weight.data.zero_()
    for layer in plan.mlp:
        made.model.layers[layer].mlp.down_proj.weight.data.zero_()
    return made.to(dtype)


def same(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    rough = found.dtype == torch.bfloat16
    return torch.allclose(found.float(), wanted.float(), atol=0.03 if rough else 1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("plan", PLANS)
def test_a_pass_gives_what_the_smaller_model_would(kind: str, plan: str) -> None:
    target, chosen = model(kind), PLANS[plan]
    assert isinstance(target, RunsParts)
    assert target.runs_parts
    if chosen.halves and not target.runs_halves:
        with closing(target.open()) as slot, target.partly(chosen), pytest.raises(UnsupportedModel, match="as a whole"):
            target.score([chain(TEXT)], [slot])
        return
    wanted = cut(chosen, target.dtype)(torch.tensor([TEXT])).logits[0]
    tree = ScoreTree([*TEXT[:20], 5, 6, 7], [*range(-1, 19), 19, 19, 21])
    branch = cut(chosen, target.dtype)(torch.tensor([[*TEXT[:20], 6, 7]])).logits[0, -1]
    with closing(target.open()) as slot, closing(target.open()) as other:
        with target.partly(chosen):
            scores = target.score([chain(TEXT), tree], [slot, other])
            found, branched = scores.of(0).clone(), scores.of(1)[22].clone()
        assert same(found, wanted)
        assert same(branched, branch)
    assert (target.passes, target.part_passes) == (0, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_model_sees_nothing_of_what_part_of_it_has_written(kind: str) -> None:
    target, plan = model(kind), PLANS["not the third"]
    target.show([3])
    with closing(target.open()) as slot, closing(target.open()) as anew:
        target.prefill(slot, TEXT[:20])
        target.prefill(anew, TEXT[:20])
        with target.partly(plan):
            target.score([chain(TEXT[20:23])], [slot])
            slot.commit(range(3))
            target.score([chain([1])], [slot])
            slot.commit([0])
            target.prefill(slot, [4, 5])
        slot.rollback(6)
        found, wanted = (target.score([chain(TEXT[20:30])], [each]).of(0).clone() for each in (slot, anew))
        assert found.equal(wanted)
        for each in (slot, anew):
            target.score([chain(TEXT[20:30])], [each])
            each.commit(range(10))
        mine, theirs = target.shown(slot, 0, [3]), target.shown(anew, 0, [3])
        assert mine is not None
        assert theirs is not None
        assert mine.equal(theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_reads_what_the_whole_has_read(kind: str) -> None:
    """The first layers of the whole model are those of the part, so here the two ways of reading give the same."""
    target, plan = model(kind), PLANS["first two"]
    with closing(target.open()) as slot, closing(target.open()) as anew, target.partly(plan):
        with target.partly(WHOLE):
            target.prefill(slot, TEXT)
        target.prefill(anew, TEXT)
        found, wanted = (target.score([chain([3, 4])], [each]).of(0).clone() for each in (slot, anew))
        assert found.equal(wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_output_can_be_replaced(kind: str) -> None:
    target = model(kind)
    seen: list[torch.Tensor] = []

    def at_end(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.clone())
        return torch.zeros_like(x)

    with closing(target.open()) as slot:
        truth = target.residuals(TEXT, [1])[1]
        with target.partly(PLANS["first two"], at_end):
            logits = target.score([chain(TEXT)], [slot]).of(0)
            assert not logits.any()
    assert same(seen[0], truth)


@pytest.mark.parametrize("kind", KINDS)
def test_layers_can_be_touched_one_by_one(kind: str) -> None:
    target = model(kind)
    truth = target.residuals(TEXT, range(4))
    seen: dict[int, torch.Tensor] = {}

    def touch(layer: int) -> object:
        def at(x: torch.Tensor) -> torch.Tensor:
            seen[layer] = x.clone()
            return x

        return at

    with closing(target.open()) as slot:
        target.through(slot, chain(TEXT), {layer: touch(layer) for layer in range(4)})  # type: ignore[misc]
        assert slot.length == 0
    assert all(same(seen[layer], truth[layer]) for layer in range(4))


def test_what_cannot_be_is_refused() -> None:
    target = model("written-out")
    with pytest.raises(RequestError, match="no layer 4"), target.partly(LayerPlan.without([4])):
        pass
    target.host = CacheHost(original())
    assert not target.runs_parts
    with pytest.raises(UnsupportedModel, match="over slots alone"), target.partly(PLANS["none"]):
        pass
    assert model("slots").runs_halves is False


def test_a_plan_tells_what_it_costs() -> None:
    assert WHOLE.cost(4) == 1
    assert PLANS["first two"].cost(4) == 0.5
    assert PLANS["without an attention"].halves
    assert PLANS["without two networks and a layer"].gone == {2}
    assert LayerPlan.without([-1]).beyond(3) == -1
    assert WHOLE.beyond(3) is None
