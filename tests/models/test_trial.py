"""The trial that every model takes at load: what it accepts, what it refuses, and what it says of it."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    DbrxConfig,
    DeepseekV3Config,
    DogeConfig,
    Gemma3TextConfig,
    GptOssConfig,
    GraniteMoeHybridConfig,
    LlamaConfig,
    MixtralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen3MoeConfig,
)

from laconic import Engine, Limits, Methods
from laconic.bench.zoo.models import build
from laconic.errors import UnsupportedModel
from laconic.models import choice, fast, trial
from laconic.models.causal_lm import CausalLM, context
from laconic.models.experts import routed
from laconic.models.slot_host import SlotHost
from tests import tiny


def rough(dtype: torch.dtype = torch.bfloat16) -> PreTrainedModel:
    """A deep Llama with large weights, whose bfloat16 pass is several per cent off its float32 pass."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=97, hidden_size=64, num_hidden_layers=10, intermediate_size=128, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.4, tie_word_embeddings=False,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config).eval().to(dtype)  # type: ignore[no-any-return]


def test_a_16_bit_path_is_held_to_float32_and_may_be_as_far_off_as_transformers_own() -> None:
    model = rough()
    truths = trial.truths(model)
    assert max(truth.error for truth in truths) > 0.03, "the model is rough enough to tell"
    wide = copy.deepcopy(model).float()
    for truth in truths:
        with torch.inference_mode():
            expected = wide(torch.tensor([truth.tokens])).logits[0]
        assert trial.error(truth.logits, expected) < 1e-4, "the reference is the float32 pass of the same weights"
    lm = CausalLM(model)
    assert lm.path.startswith("written-out"), lm.notes


def test_upcasting_leaves_the_weights_as_they_were() -> None:
    model = rough()
    before = {name: (parameter.dtype, parameter.data_ptr()) for name, parameter in model.named_parameters()}
    with pytest.raises(IndexError), trial.in_float32(model):
        model(torch.tensor([[1, 2, 97]]))  # no such token: a pass that ends in the middle
    after = {name: (parameter.dtype, parameter.data_ptr()) for name, parameter in model.named_parameters()}
    assert after == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_path_that_is_a_little_wrong_is_left_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong sign in the rotary angles of the written-out pass, say: the next way is taken, and a note says why."""
    right = fast.FastDecoder._angles

    def wrong(self: Any, positions: torch.Tensor, keys: int) -> tuple[torch.Tensor, torch.Tensor]:
        cos, sin = right(self, positions, keys)
        return cos, -sin

    monkeypatch.setattr(fast.FastDecoder, "_angles", wrong)
    lm = CausalLM(tiny.model(0))
    assert lm.path == "slots"
    (note,) = lm.notes
    assert "written-out" in note
    assert "off" in note
    assert lm.describe()["notes"] == [note]


def test_a_path_that_forgets_where_a_draft_was_refused_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by a pass over a text, but by the pass behind a draft that was accepted in part."""
    from laconic.models.slots import SlotPool

    monkeypatch.setattr(SlotPool, "gather", lambda *_: None)
    model = tiny.model(0)
    fault = trial.fault(SlotHost(model), trial.truths(tiny.model(0))[0])
    assert "behind a partly accepted draft" in fault


def test_where_no_way_is_right_the_model_is_refused_with_all_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice.trial, "fault", lambda *_, **__: "0.5 off")
    with pytest.raises(UnsupportedModel, match=r"written-out: 0.5 off; slots: 0.5 off; own cache: 0.5 off"):
        CausalLM(tiny.model(0))


def test_drafting_in_16_bits_promises_nothing_that_rounding_decides() -> None:
    engine = Engine(CausalLM(tiny.model(0).to(torch.bfloat16)), tiny.text(), Methods(drafter="prompt-lookup"))
    lm = engine.target
    assert isinstance(lm, CausalLM)
    drafted = engine.generate("abcabcabcabc", limits=Limits(20))
    assert drafted.usage.drafted
    assert drafted.lossless == lm.exact
    assert engine.using(drafter="none").generate("abc", limits=Limits(5)).lossless, "nothing is drafted"
    exact = Engine(CausalLM(tiny.model(0)), tiny.text(), Methods(drafter="prompt-lookup"))
    assert exact.generate("abcabcabcabc", limits=Limits(20)).lossless


def test_of_a_mixture_of_experts_nothing_is_promised_that_rounding_decides() -> None:
    """Two experts may score alike; no pass of its own settles that."""
    torch.manual_seed(0)
    sizes = {
        "vocab_size": 264, "hidden_size": 32, "intermediate_size": 48, "moe_intermediate_size": 16,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
        "max_position_embeddings": 512,
    }  # fmt: skip
    model = AutoModelForCausalLM.from_config(Qwen3MoeConfig(num_experts=4, num_experts_per_tok=2, **sizes))
    engine = Engine(CausalLM(model), tiny.text(), Methods(drafter="prompt-lookup"))
    assert engine.target.describe()["routed"]  # type: ignore[attr-defined]
    drafted = engine.generate("abcabcabcabc", limits=Limits(20))
    assert drafted.usage.drafted
    assert not drafted.lossless
    assert engine.using(drafter="none").generate("abc", limits=Limits(5)).lossless, "nothing is drafted"


@pytest.mark.parametrize(
    ("config", "has"),
    [
        (MixtralConfig(), True), (DbrxConfig(), True), (DeepseekV3Config(), True), (GptOssConfig(), True),
        (GraniteMoeHybridConfig(num_local_experts=0), False), (DogeConfig(), False), (DogeConfig(is_moe=True), True),
        (LlamaConfig(), False), (Gemma3TextConfig(), False),
    ],
)  # fmt: skip
def test_experts_are_seen_in_any_familys_words(config: PreTrainedConfig, has: bool) -> None:
    assert routed(config) == has


def test_what_is_no_number_is_infinitely_wrong() -> None:
    expected = torch.tensor([[0.0, 1.0, 2.0, -torch.inf]])
    found = torch.tensor([[0.0, torch.nan, 2.0, 0.0]])
    assert trial.error(found, expected) == torch.inf
    assert trial.error(expected, expected) == 0.0


def test_fingerprints_see_every_matrix() -> None:
    """A LoRA that was merged changes projections alone."""
    model = tiny.model(0)
    changed = copy.deepcopy(model)
    with torch.no_grad():
        changed.model.layers[1].mlp.down_proj.weight.add_(0.01)
    assert CausalLM(model).fingerprint() != CausalLM(changed).fingerprint()


@pytest.mark.parametrize("kind", ["longrope", "dynamic"])
def test_rotary_embeddings_that_change_with_length_end_the_context_there(kind: str) -> None:
    rope = {"rope_type": kind, "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
    if kind == "longrope":
        rope |= {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    config = LlamaConfig(hidden_size=32, num_attention_heads=4, max_position_embeddings=256, rope_parameters=rope)
    assert context(config) == 64


def test_a_model_that_hashes_long_texts_into_chunks_is_refused() -> None:
    """Its short texts are causal, which is all that the first texts of a trial show."""
    model = build("reformer")
    assert not any(trial.looks_ahead(model, truth) for truth in trial.truths(model))
    assert trial.forgets(model)
    with pytest.raises(UnsupportedModel, match="depends on what follows"):
        CausalLM(model)
    assert not trial.forgets(build("openai-gpt"))


def test_few_rows_may_be_further_off_by_chance_than_many() -> None:
    logits = torch.zeros(24, 8)
    logits[:, 0] = 1.0
    own = logits.clone()
    own[20:] += torch.linspace(-0.2, 0.2, 8)
    truth = trial.Truth([1] * 24, logits, trial.error(own, logits), torch.bfloat16, own)
    many, few = truth.allowed(range(24)), truth.allowed(range(19))
    assert few > many > truth.error  # the same error, of fewer rows
    assert truth.allowed(range(20, 24)) > few  # rows in which Transformers' own pass is off, too
    assert trial.Truth([1] * 24, logits, 0.0, torch.float32).allowed(range(4)) == pytest.approx(1e-4)


def test_rounding_of_16_bits_is_not_taken_for_a_look_ahead() -> None:
    """Two passes may round further apart than the one whose error is known; it ended training runs in their middle."""
    model = rough()
    for truth in trial.truths(model):
        lucky = replace(truth, error=1e-6)
        with torch.inference_mode():
            assert trial._changed(model, truth.tokens) > 1e-3, "the model is rough enough to tell"
        assert not trial.looks_ahead(model, lucky)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_look_ahead_is_seen_in_every_format(dtype: torch.dtype) -> None:
    """A trace of the last token in every other one's state: one part in fifty."""
    model = rough(dtype)

    def mixed(_: Any, args: Any, output: Any) -> Any:
        return output + 0.02 * output[:, -1:]

    model.model.embed_tokens.register_forward_hook(mixed)
    assert any(trial.looks_ahead(model, truth) for truth in trial.truths(model))
    with pytest.raises(UnsupportedModel, match="not causal"):
        CausalLM(model)
