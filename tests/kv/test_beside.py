"""Reduced caches beside everything else that slots can do: shared prompts, layers' outputs, windows, other passes."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import cast

import pytest
import torch

import laconic.methods  # noqa: F401  (fills the registry)
from laconic.errors import InvalidKnob
from laconic.kv.base import Telling
from laconic.kv.keeping import Evicting
from laconic.models.base import chain
from laconic.models.causal_lm import CausalLM
from laconic.models.past import CacheShape
from laconic.models.slot import CacheSlot
from laconic.policy import Policy, registry
from tests import tiny
from tests.kv.methods import REDUCING, TEXT, fit, opened, policy
from tests.kv.test_passes import TOKENS, built, pool
from tests.kv.test_states import same
from tests.models.test_native import needs_kernels


def build(spec: str) -> Evicting:
    return cast(Evicting, registry.build("kv", spec))


@needs_kernels
@pytest.mark.parametrize("name", REDUCING)
@torch.inference_mode()
def test_over_a_prompt_that_is_shared(name: str) -> None:
    """What a slot shares it takes along as far as it stays: bit for bit as if it had read all of it itself."""
    model, _ = built("llama", layers=2, dtype=torch.bfloat16)
    tokens, prompt = TOKENS[:130], 101
    with closing(model.open()) as whole:
        model.prefill(whole, tokens[: prompt - 1])
        kept = model.keep(whole)
    made = policy(name)
    keeper = made.start(Telling(tokens, prompt, TEXT))
    assert keeper is not None
    slot = cast(CacheSlot, model.resume(kept, max(min(keeper.stop - keeper.looks, prompt - 1), 0)))
    assert slot.shared == slot.length
    model.hold(slot, keeper)
    fresh = opened(model, made, tokens, prompt)
    for each in (slot, fresh):
        model.prefill(each, tokens[each.length :])
        fit(each)
    assert slot.past is not None
    same(slot, fresh, exact=True, coded=False)
    found, expected = (model.score([chain([3, 4])], [each]).of(0) for each in (slot, fresh))
    assert torch.equal(found, expected)
    slot.close(), fresh.close()


@pytest.mark.parametrize("name", ["snapkv", "quantised"])
@torch.inference_mode()
def test_layers_outputs_are_there_for_who_reads_them_round_by_round(name: str) -> None:
    model = CausalLM(tiny.model())
    model.show([0])
    tokens = [(7 * i) % 200 for i in range(200)]
    with closing(model.open()) as whole:
        model.prefill(whole, tokens)
        expected = model.shown(whole, 0, [0])
        assert expected is not None
        expected = expected.clone()
    slot = opened(model, policy(name), tokens, 120)
    model.prefill(slot, tokens[:119])
    read = 119
    while slot.length < 200:
        fit(slot)
        found = model.shown(slot, read, [0])
        assert found is not None
        assert len(found) == slot.length - read
        if slot.past is None:
            torch.testing.assert_close(found, expected[read : slot.length])
        read = slot.length
        model.prefill(slot, tokens[read : read + min(slot.room, 5, 200 - read)])
    assert slot.past is not None
    slot.close()
    model.show([])


@needs_kernels
@pytest.mark.parametrize("name", ["streaming-llm", "quantised", "snapkv"])
@torch.inference_mode()
def test_windows_are_known_to_who_looks_at_no_query(name: str) -> None:
    model, _ = built("mistral-sliding", layers=2, dtype=torch.bfloat16)
    slot = opened(model, policy(name, "stepwise=True"), TOKENS, 60)
    model.prefill(slot, TOKENS[:90])
    fit(slot)
    assert slot.past is not None
    assert {attention.window for attention in pool(model).attention.values()} == {8}
    assert all(layer is not None and layer.positions is not None for layer in slot.past.layers)
    assert all(layer is not None and layer.count <= 8 for layer in slot.past.layers)
    slot.close()


def test_a_budget_of_bytes_where_layers_have_windows() -> None:
    """Until the first reduction they hold as much as others; where all have one, they are cut to it."""
    shape = CacheShape(layers=4, heads=4, kv_heads=2, head_dim=32, itemsize=2, windows=(100, 100))
    each = shape.entry_nbytes + 8
    assert build("key-norm").within(4 * each * 1000, shape).budget == 1000
    small = build("key-norm").within(2 * each * 300 + 2 * each * (100 + 64 + 256), shape)
    assert small.budget == 300
    whole = replace(shape, windows=(100,) * 4)
    assert build("key-norm").within(4 * each * (100 + 64 + 256), whole).budget == 64 + 256
    with pytest.raises(InvalidKnob, match="cannot keep to"):
        build("key-norm").within(4 * each * 50, shape)


@torch.inference_mode()
def test_layers_that_all_have_windows_are_cut_to_them() -> None:
    model, _ = built("mistral-sliding", layers=2)
    slot = opened(model, policy("key-norm"), TOKENS, 60)
    model.prefill(slot, TOKENS[:100])
    fit(slot)
    assert slot.past is not None
    assert slot.own + slot.past.longest <= 8 + 40
    slot.close()


def test_what_cannot_keep_to_bytes_says_so_and_smaller_budgets_stay() -> None:
    shape = CacheShape(layers=4, heads=4, kv_heads=2, head_dim=32, itemsize=2)
    with pytest.raises(InvalidKnob, match="every=0"):
        build("snapkv:every=0").within(1 << 24, shape)
    assert build("snapkv:every=0,stepwise=True").most is None
    assert build("snapkv:budget=256").within(1 << 26, shape).budget == 256
    with pytest.raises(InvalidKnob):
        build("snapkv:budget=inf")
    with pytest.raises(InvalidKnob, match="keeps all entries"):
        registry.build("kv", "full").within(1 << 20, shape)  # type: ignore[attr-defined]


@pytest.mark.parametrize("spec", ["h2o:seen=8", "lazy-eviction:seen=8", "h2o:seen=8,stepwise=True"])
@torch.inference_mode()
def test_shares_of_the_text_are_kept_by_those_that_look_more_often_than_they_reduce(spec: str) -> None:
    model = CausalLM(tiny.model())
    made = build(f"{spec},budget=0.5,every=20,sinks=2,recent=6" if ":" in spec else spec)
    tokens = [(7 * i) % 200 for i in range(400)]
    slot = opened(model, made, tokens, 40)
    while slot.length < 400:
        fit(slot)
        model.prefill(slot, tokens[slot.length : slot.length + min(slot.room, 7, 400 - slot.length)])
    assert slot.past is not None
    assert slot.past.longest + slot.own <= 0.5 * 400 + 21
    slot.close()


@torch.inference_mode()
def test_another_text_may_be_reduced_while_nodes_of_a_pass_wait_to_be_kept() -> None:
    """As where a tie is settled by reading a text once more, between scoring and commit."""
    model = CausalLM(tiny.model())
    tokens = [(7 * i) % 200 for i in range(400)]
    slot = opened(model, policy("snapkv", "every=0"), tokens, 255)
    model.prefill(slot, tokens[:254])
    slot.compact(tidy=True)
    model.prefill(slot, tokens[254:490])
    before = slot.own
    model.score([chain(tokens[:30])], [slot])
    other = opened(model, policy("snapkv", "every=0"), tokens, 400)
    model.prefill(other, tokens)
    other.close()
    slot.commit(range(30))
    fresh = opened(model, policy("snapkv", "every=0"), tokens, 255)
    model.prefill(fresh, tokens[:254])
    fresh.compact(tidy=True)
    model.prefill(fresh, [*tokens[254:490], *tokens[:30]])
    assert slot.own == before + 30
    same(slot, fresh, exact=False, coded=False)
    slot.close(), fresh.close()


def test_whose_losses_count() -> None:
    view = "kv-view:[snapkv]"
    assert cast(Policy, registry.build("drafter", view)).lossless
    assert registry.build("drafter", f"hybrid:[suffix]+[{view}]").lossless
    assert not registry.build("kv", "snapkv").lossless
    assert not registry.build("verifier", "match:relax=[typical]").lossless
