"""Predictions against numbers worked out by hand."""

from __future__ import annotations

import pytest
from transformers import DeepseekV3Config, MambaConfig, MistralConfig, Qwen3Config, Qwen3MoeConfig

from laconic.bench.cost import PRESETS, Anatomy, Hardware, Knobs, hardware, pass_time, predict, predicted, relative
from laconic.bench.cost import hardware as find
from laconic.errors import RequestError, UnsupportedModel
from laconic.types import Usage

DENSE = Qwen3Config(vocab_size=1000, hidden_size=64, num_hidden_layers=3, intermediate_size=160, num_attention_heads=8,
                    num_key_value_heads=2, head_dim=16, tie_word_embeddings=False)  # fmt: skip
# q 64 x 128, k and v 64 x 32 each, o 128 x 64; gate, up, down 64 x 160; two norms of 64; head norms 16 + 16
DENSE_LAYER = 8192 + 2 * 2048 + 8192 + 3 * 10240 + 128 + 32
MOE = Qwen3MoeConfig(vocab_size=1000, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                     head_dim=16, num_experts=8, num_experts_per_tok=2, moe_intermediate_size=40,
                     tie_word_embeddings=True)  # fmt: skip
# q and o 64 x 64, k and v 64 x 32; router 8 x 64; norms 128 + 32; eight experts of 3 x 64 x 40
MOE_LAYER, EXPERTS = 4096 * 2 + 2048 * 2 + 512 + 160, 8 * 7680
TOY = Hardware("toy", "Toy", bandwidth=1e6, bf16=1e9, fp8=4e9, memory=1e6, source="made up")
BARE = Knobs(bandwidth=0.5, compute=0.25, per_layer=0.01, per_pass=0.1)


def test_a_dense_model_by_hand() -> None:
    model = Anatomy.of(DENSE)
    assert model.table == model.head == 64_000
    assert model.dense == 3 * DENSE_LAYER + 64
    assert model.parameters == 2 * 64_000 + 3 * DENSE_LAYER + 64
    assert model.active_parameters == model.touched(1) == model.touched(50) == 64_000 + 3 * DENSE_LAYER + 64
    assert model.cache_width == 2 * 2 * 16
    # Two operations a weight; each of 8 heads multiplies 16 query and 16 value numbers with every earlier token.
    assert model.flops(5, 100) == 2 * 5 * (64_000 + 3 * DENSE_LAYER + 64 + 3 * 100 * 8 * 32)

    one = pass_time(model, TOY, 4, 100, requests=2, knobs=BARE)
    entries = 2 * 3 * 100 + 4 * 3
    assert one.memory == pytest.approx((2 * model.touched(4) + 2 * entries * 64) / 0.5e6)
    assert one.compute == pytest.approx(model.flops(4, 100) / 0.25e9)
    assert one.overhead == pytest.approx(0.1 + 3 * 0.01)
    assert one.seconds == pytest.approx(one.memory + one.overhead)
    assert one.bound == "memory"
    assert one.fits
    many = pass_time(model, TOY, 2000, 100, knobs=BARE)
    assert many.bound == "compute"
    assert many.seconds == pytest.approx(many.compute + many.overhead)


def test_a_mixture_of_experts_by_hand() -> None:
    model = Anatomy.of(MOE)
    assert (model.tied, model.active, model.choices) == (True, 2, 8)
    assert model.experts == 2 * EXPERTS
    assert model.dense == 2 * MOE_LAYER + 64
    assert model.parameters == 64_000 + 2 * (MOE_LAYER + EXPERTS) + 64
    assert model.active_parameters == 64_000 + 2 * MOE_LAYER + 64 + 2 * EXPERTS / 4
    assert model.touched(1) == model.active_parameters
    # Two tokens that choose 2 of 8 each miss a given expert with probability (3/4)^2.
    assert model.touched(2) == pytest.approx(64_000 + 2 * MOE_LAYER + 64 + 2 * EXPERTS * 7 / 16)
    assert model.touched(1000) == pytest.approx(64_000 + 2 * MOE_LAYER + 64 + 2 * EXPERTS)
    knobs = Knobs(per_layer=0, per_pass=0)
    assert relative(model, TOY, 4, 0, knobs) > 1.3 > relative(Anatomy.of(DENSE), TOY, 4, 0, knobs)


def test_windows_and_compressed_caches() -> None:
    window = Anatomy.of(MistralConfig(vocab_size=50, hidden_size=32, num_hidden_layers=2, intermediate_size=40,
                                      num_attention_heads=4, num_key_value_heads=2, sliding_window=16))  # fmt: skip
    assert window.keys(10) == 20
    assert window.keys(1000) == 32
    mixed = Qwen3Config(vocab_size=50, hidden_size=32, num_hidden_layers=3, intermediate_size=40, num_attention_heads=4,
                        num_key_value_heads=2, head_dim=8, use_sliding_window=True, sliding_window=16,
                        max_window_layers=1)  # fmt: skip
    assert Anatomy.of(mixed).keys(1000) == 1000 + 2 * 16
    latent = DeepseekV3Config(vocab_size=50, hidden_size=32, num_hidden_layers=2, intermediate_size=40,
                              num_attention_heads=4, num_key_value_heads=4, q_lora_rank=16, kv_lora_rank=16,
                              qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=12, n_routed_experts=4, n_group=1,
                              topk_group=1, moe_intermediate_size=24, num_experts_per_tok=2,
                              first_k_dense_replace=1)  # fmt: skip
    assert Anatomy.of(latent).cache_width == 24
    with pytest.raises(UnsupportedModel):
        Anatomy.of(MambaConfig(vocab_size=50, hidden_size=32, num_hidden_layers=1))


def test_eight_bits_and_measured_rates() -> None:
    model = Anatomy.of(DENSE)
    half, quarter = (pass_time(model, TOY, 64, 0, knobs=Knobs(weight_bytes=b, per_layer=0, per_pass=0)) for b in (2, 1))
    assert half.compute == pytest.approx(4 * quarter.compute)
    assert half.memory > 1.8 * quarter.memory
    old = Hardware("old", "Old", 1e6, 1e9, None, 1e6, "made up")
    assert pass_time(model, old, 64, 0, knobs=Knobs(weight_bytes=1)).compute == pytest.approx(half.compute)
    reached = Hardware("here", "Here", 1e6, 1e9, None, 1e6, "measured", reached=True)
    assert pass_time(model, reached, 64, 0).memory == pytest.approx(0.75 * half.memory)
    assert not pass_time(model, Hardware("tiny", "Tiny", 1e6, 1e9, None, 1e5, ""), 1, 0).fits


def test_a_result_by_hand() -> None:
    usage = Usage(prompt=40, thinking=50, answer=10, injected=4, drafted=30, accepted=20, probed=6, target_passes=40,
                  draft_passes=30, prefill_passes=2)  # fmt: skip
    target, draft = Anatomy.of(DENSE), Anatomy.of(MOE)
    context = 40 + 64 / 2
    there = predict(usage, target, TOY, draft=draft, knobs=BARE)
    assert there.target == pytest.approx(40 * pass_time(target, TOY, (40 + 4 + 30 + 6) / 40, context, 1, BARE).seconds)
    assert there.draft == pytest.approx(30 * pass_time(draft, TOY, 1, context, 1, BARE).seconds)
    assert there.prefill == pytest.approx(
        2 * pass_time(target, TOY, 20, 20, 1, BARE).seconds + 2 * pass_time(draft, TOY, 20, 20, 1, BARE).seconds
    )
    assert there.seconds == pytest.approx(there.target + there.draft + there.prefill)
    assert there.tokens_per_second == pytest.approx(64 / there.seconds)
    assert there.fits

    twice = Usage()
    twice.add(usage)
    twice.add(usage)
    assert predict(twice, target, TOY, draft=draft, requests=2, knobs=BARE).seconds == pytest.approx(2 * there.seconds)
    batched = predict(twice, target, TOY, draft=draft, requests=2, batch=2, knobs=BARE)
    assert there.target < batched.target < 2 * there.target, "a shared pass reads the weights once"
    plain = predict(Usage(prompt=40, thinking=50, answer=14, target_passes=64, prefill_passes=1), target, TOY)
    assert plain.draft == 0
    with pytest.raises(RequestError, match="draft model"):
        predict(usage, target, TOY)
    with pytest.raises(RequestError, match="at least one request"):
        predict(usage, target, TOY, draft=draft, requests=0)


def test_presets_are_sane() -> None:
    for name, device in PRESETS.items():
        assert device.name == name
        assert device.source
        assert 2e11 < device.bandwidth < 1e13
        assert 1e10 < device.memory < 3e11
        # Operations per byte at which a device turns compute-bound: GPUs of this decade lie between 30 and 450.
        assert 30 < device.bf16 / device.bandwidth < 450
        assert device.fp8 is None or device.fp8 == pytest.approx(2 * device.bf16, rel=0.02)
    assert set(PRESETS) == {
        "a100", "h100", "h200", "b200", "l4", "l40s", "a10", "rtx4090", "rtx5090", "mi300x", "m4max",
    }  # fmt: skip


def test_names() -> None:
    assert find("H100") is PRESETS["h100"]
    assert find("rtx-4090") is find("RTX 4090") is PRESETS["rtx4090"]
    with pytest.raises(RequestError, match=r"no hardware is called 'h10O'. Did you mean 'h100'\?"):
        hardware("h10O")


def test_this_machine_is_measured_once() -> None:
    here = hardware("cpu")
    assert here.reached
    assert here is hardware("CPU")
    assert 1e7 < here.bandwidth < 1e13
    assert 1e7 < here.bf16 < 1e15


@pytest.mark.parametrize("wrong", [{"bandwidth": 0}, {"compute": 1.5}, {"per_pass": -1}, {"weight_bytes": 0}])
def test_knobs_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(RequestError):
        Knobs(**wrong)


def test_passes_that_make_no_sense() -> None:
    model = Anatomy.of(DENSE)
    for tokens, context, requests in ((0, 0, 1), (1, 0, 2), (1, -1, 1)):
        with pytest.raises(RequestError, match="makes no sense"):
            pass_time(model, TOY, tokens, context, requests)


def test_a_comparison_elsewhere_is_each_variants_prediction() -> None:
    usages = {
        "baseline": Usage(prompt=100, thinking=400, target_passes=400, prefill_passes=2),
        "laconic": Usage(prompt=100, thinking=400, target_passes=100, drafted=500, accepted=300, prefill_passes=2),
    }
    config = DENSE
    found = predicted(usages, 2, 1, config, None, [PRESETS["h100"]])["h100"]
    for name, usage in usages.items():
        expected = predict(usage, Anatomy.of(config), PRESETS["h100"], requests=2).seconds
        assert found["seconds"][name] == pytest.approx(expected / 2)
    assert found["ratio"]["baseline"] == 1
    assert found["ratio"]["laconic"] < 0.3
