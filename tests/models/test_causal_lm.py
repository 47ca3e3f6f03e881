"""Every supported architecture against Transformers itself: generate, and full recomputation of trees."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    DeepseekV3Config,
    Gemma2Config,
    Gemma3TextConfig,
    GPTNeoXConfig,
    GptOssConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    Phi3Config,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
    T5Config,
)

from laconic import Engine, Limits, Methods, Request
from laconic.errors import BrokenLogits, ModelNotFound, RequestError, UnsupportedModel
from laconic.models.base import ScoreTree, chain
from laconic.models.causal_lm import CausalLM, refuse
from laconic.models.packed import worthwhile
from laconic.models.slots import BLOCK
from tests import tiny

SMALL: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.2,
}
LAYERS = ["sliding_attention", "full_attention", "sliding_attention"]
MOE = {"num_experts_per_tok": 2, "experts_implementation": "eager"}
CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SMALL),
    "qwen2": Qwen2Config(**SMALL),
    "qwen3": Qwen3Config(**SMALL, head_dim=16),
    "qwen3-moe": Qwen3MoeConfig(**SMALL, head_dim=16, num_experts=4, moe_intermediate_size=24, **MOE),
    "mistral-sliding": MistralConfig(**SMALL, sliding_window=8),
    "gemma2-softcap": Gemma2Config(**SMALL, head_dim=16, sliding_window=8),
    "gemma3-mixed": Gemma3TextConfig(**SMALL, head_dim=16, sliding_window=8, layer_types=LAYERS),
    "phi3": Phi3Config(**SMALL),
    "gpt-neox": GPTNeoXConfig(**{k: v for k, v in SMALL.items() if k != "num_key_value_heads"}),
    "olmo2": Olmo2Config(**SMALL),
    "gpt-oss-sinks": GptOssConfig(
        **SMALL, head_dim=16, num_local_experts=4, sliding_window=8, rope_parameters={"rope_type": "default"}, **MOE
    ),
    "deepseek-v3": DeepseekV3Config(
        **SMALL | {"num_key_value_heads": 4},
        q_lora_rank=16,
        kv_lora_rank=16,
        qk_rope_head_dim=8,
        qk_nope_head_dim=8,
        v_head_dim=12,
        n_routed_experts=4,
        n_group=1,
        topk_group=1,
        moe_intermediate_size=24,
        first_k_dense_replace=1,
        **MOE,
    ),
}
TOLERANCE = 2e-5
"""Logits here are of order 1; float32 sums in another order differ by about 1e-6."""


FAST = {"llama", "qwen2", "qwen3", "mistral-sliding"}
"""Architectures with the written-out forward pass; each is tested with it and without."""


@pytest.fixture(params=[*CONFIGS, *(f"{name}/plain" for name in sorted(FAST))], scope="module")
def pair(request: pytest.FixtureRequest) -> tuple[PreTrainedModel, CausalLM]:
    name, _, plain = request.param.partition("/")
    torch.manual_seed(1)
    original = AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS[name]), attn_implementation="eager").eval()
    lm = CausalLM(copy.deepcopy(original), written_out=not plain)
    assert (lm.host.fast is not None) == (name in FAST and not plain)
    return original, lm


def full(model: PreTrainedModel, tokens: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        return model(torch.tensor([tokens])).logits[0]


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, atol=TOLERANCE, rtol=TOLERANCE)


def test_trees_in_a_ragged_batch_equal_full_recomputation(pair: tuple[PreTrainedModel, CausalLM]) -> None:
    original, lm = pair
    long, short = [(7 * i) % 90 + 3 for i in range(20)], [(5 * i) % 90 + 3 for i in range(11)]
    a, idle, b = lm.open(), lm.open(), lm.open()
    for slot, tokens in ((a, long), (idle, [5, 6, 7]), (b, short)):
        lm.prefill(slot, tokens)
    # Node 1 and 2 are siblings, 3 hangs off 2, 4 branches off an earlier point of the text.
    tree = ScoreTree([9, 10, 11, 12, 13], [-1, 0, 0, 2, -1], [-1, -1, -1, -1, 14])
    scores = lm.score([tree, chain([4, 8])], [a, b])
    paths = {0: [9], 1: [9, 10], 2: [9, 11], 3: [9, 11, 12]}
    for node, path in paths.items():
        close(scores.of(0)[node], full(original, long + path)[-1])
    close(scores.of(0)[4], full(original, [*long[:14], 13])[-1])
    close(scores.of(1), full(original, [*short, 4, 8])[-2:])

    a.commit([0, 2, 3])
    b.commit([0, 1])
    twin = a.fork()
    idle.close()  # rows move; nothing else may notice
    a.rollback(1)
    scores = lm.score([chain([20, 21]), chain([22]), chain([30])], [a, b, twin])
    close(scores.of(0), full(original, [*long, 9, 11, 20, 21])[-2:])
    close(scores.of(1), full(original, [*short, 4, 8, 22])[-1:])
    close(scores.of(2), full(original, [*long, 9, 11, 12, 30])[-1:])
    for slot in (a, b, twin):
        slot.close()


def test_a_branch_off_an_earlier_point_takes_the_place_of_what_came_after_it(
    pair: tuple[PreTrainedModel, CausalLM],
) -> None:
    original, lm = pair
    prompt = [(7 * i) % 90 + 3 for i in range(20)]
    slot = lm.open()
    lm.prefill(slot, prompt)
    lm.score([ScoreTree([9, 10, 11, 12, 13], [-1, 0, -1, 2, 3], [-1, -1, 14, -1, -1])], [slot])
    slot.rollback(6)
    slot.commit([2, 3])
    assert slot.length == 16
    close(lm.score([chain([20, 21])], [slot]).of(0), full(original, [*prompt[:14], 11, 12, 20, 21])[-2:])
    slot.close()


@pytest.mark.parametrize("methods", [("none", "chain"), ("prompt-lookup", "chain"), ("suffix", "best-first")])
def test_greedy_decoding_equals_transformers_generate(
    pair: tuple[PreTrainedModel, CausalLM], methods: tuple[str, str]
) -> None:
    original, lm = pair
    engine = Engine(lm, tiny.text(), Methods(drafter=methods[0], shape=methods[1], length="constant:6"))
    prompts = [[(k * i) % 90 + 3 for i in range(12 + k)] for k in (3, 7)]
    results = engine.run([Request(tuple(p), limits=Limits(24)) for p in prompts], batch=2)
    for prompt, result in zip(prompts, results, strict=True):
        with torch.inference_mode():
            expected = original.generate(
                torch.tensor([prompt]), max_new_tokens=24, do_sample=False, eos_token_id=None, pad_token_id=0
            )
        assert list(result.tokens) == expected[0, len(prompt) :].tolist()


@pytest.fixture(scope="module")
def qwen3() -> tuple[PreTrainedModel, CausalLM]:
    torch.manual_seed(1)
    original = AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS["qwen3"])).eval()
    return original, CausalLM(copy.deepcopy(original))


def test_the_fast_path_is_left_where_it_does_not_give_the_same_numbers() -> None:
    """A model that looks like the Llama family but scales its embeddings keeps its own forward pass."""
    model = tiny.model(0)
    assert CausalLM(copy.deepcopy(model)).host.fast is not None
    model.model.embed_tokens.register_forward_hook(lambda module, args, out: out * 2)
    assert CausalLM(model).host.fast is None


@pytest.mark.parametrize("name", sorted(FAST))
def test_bfloat16_packed_gives_what_float32_gives_up_to_rounding(name: str) -> None:
    lost = {"ours": 0.0, "transformers": 0.0}
    """What bfloat16 costs, over several models: Transformers' own loss on the same text is the measure."""
    for seed in range(4):
        torch.manual_seed(seed)
        original = AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS[name]), attn_implementation="eager").eval()
        original.to(torch.bfloat16)
        exact = copy.deepcopy(original).to(torch.float32)
        lm = CausalLM(copy.deepcopy(original))
        assert lm.host.fast is not None
        if not worthwhile(original.get_input_embeddings().weight):
            pytest.skip("this CPU or build of PyTorch has no packed bfloat16 products")
        assert lm.host.fast.packed
        assert not any(layer.mlp.down_proj.weight.numel() for layer in lm.model.model.layers)  # held once, not twice
        prompt = [(7 * i) % 90 + 3 for i in range(20)]
        slot = lm.open()
        lm.prefill(slot, prompt)
        for tree, path, node in (
            (chain([9]), [9], 0),
            (ScoreTree([9, 10, 11, 12, 13], [-1, 0, 0, 2, -1], [-1, -1, -1, -1, 14]), [9, 11, 12], 3),
        ):
            found, expected = lm.score([tree], [slot]).of(0)[node].float(), full(exact, prompt + path)[-1]
            assert float((found - expected).abs().mean()) < 0.1 * float(expected.std())
            theirs = full(original, prompt + path)[-1].float()
            lost["ours"] += float((found - expected).norm())
            lost["transformers"] += float((theirs - expected).norm())
    assert lost["ours"] < 1.5 * lost["transformers"]


def test_memory_grows_in_blocks_and_keeps_what_it_holds(qwen3: tuple[PreTrainedModel, CausalLM]) -> None:
    original, lm = qwen3
    slot, other = lm.open(), lm.open()
    tokens = [i % 90 + 3 for i in range(BLOCK + 40)]
    lm.prefill(other, tokens[:10])
    lm.prefill(slot, tokens)
    assert lm.host.pool.capacity % BLOCK == 0
    assert lm.host.pool.capacity > BLOCK
    close(lm.score([chain([5])], [slot]).of(0), full(original, [*tokens, 5])[-1:])
    close(lm.score([chain([5])], [other]).of(0), full(original, [*tokens[:10], 5])[-1:])
    assert slot.nbytes == len(tokens) * 3 * 2 * 2 * 16 * 4  # layers x (k, v) x heads x dim x bytes
    slot.close()
    other.close()


def test_rolling_back_too_far_and_closing_twice_are_errors(qwen3: tuple[PreTrainedModel, CausalLM]) -> None:
    slot = qwen3[1].open()
    with pytest.raises(ValueError, match="roll back"):
        slot.rollback(1)
    slot.close()
    with pytest.raises(ValueError, match="closed"):
        slot.close()


def test_broken_logits_are_an_error_not_a_token() -> None:
    model = tiny.model(3)
    engine = Engine(CausalLM(model), tiny.text(), Methods(drafter="none"))
    with torch.no_grad():
        model.lm_head.weight[7] = torch.nan
    with pytest.raises(BrokenLogits, match="not finite"):
        engine.generate("hello")
    assert not engine.target.slots, "the request's slot is freed"
    with pytest.raises(BrokenLogits, match="not finite"):
        CausalLM(model)


def test_a_prompt_longer_than_the_context_is_refused() -> None:
    engine = Engine(CausalLM(tiny.model(0)), tiny.text(), Methods(drafter="none"))
    with pytest.raises(RequestError, match="context is 512"):
        engine.generate("x" * 600)


def test_output_ends_at_the_context() -> None:
    engine = Engine(CausalLM(tiny.model(0)), tiny.text(), Methods(drafter="suffix"))
    prompt = "y" * 460
    result = engine.generate(prompt)
    assert len(engine.text.prompt(prompt)) + len(result.tokens) == 512
    assert result.finish_reason == "length"


def test_an_encoder_decoder_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedModel, match="encoder-decoder"):
        refuse(T5Config(d_model=32, num_layers=2, vocab_size=97))


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="nothing-here"):
        CausalLM.load(tmp_path / "nothing-here")
    (tmp_path / "config.json").write_text('{"model_type": "no-such-architecture"}')
    with pytest.raises(UnsupportedModel, match="no-such-architecture"):
        CausalLM.load(tmp_path)


def test_load_from_a_saved_checkpoint(tmp_path: Path, qwen3: tuple[PreTrainedModel, CausalLM]) -> None:
    original, _ = qwen3
    original.save_pretrained(tmp_path)
    lm = CausalLM.load(tmp_path)
    slot = lm.open()
    close(lm.score([chain([5, 6])], [slot]).of(0), full(original, [5, 6]))
    assert lm.vocab_size == 97
    assert lm.context == 512
