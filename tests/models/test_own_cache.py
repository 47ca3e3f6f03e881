"""Architectures whose state the slot cache cannot hold: trees, batches, rollbacks against full recomputation."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BloomConfig,
    FalconConfig,
    Lfm2Config,
    Mamba2Config,
    OpenAIGPTConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen3NextConfig,
    RecurrentGemmaConfig,
)

from laconic.errors import UnsupportedModel
from laconic.models.base import ScoreTree, chain
from laconic.models.causal_lm import CausalLM

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "pad_token_id": 0,
}
CONFIGS: dict[str, tuple[PreTrainedConfig, str]] = {
    "qwen3-next": (
        Qwen3NextConfig(
            **SIZES,
            head_dim=16,
            linear_key_head_dim=8,
            linear_value_head_dim=8,
            linear_num_key_heads=2,
            linear_num_value_heads=4,
            num_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=24,
            shared_expert_intermediate_size=24,
        ),
        "slots, recurrent",
    ),
    "lfm2": (Lfm2Config(**SIZES, layer_types=["conv", "full_attention", "conv", "conv"]), "slots, recurrent"),
    "mamba2": (
        Mamba2Config(vocab_size=97, hidden_size=32, num_hidden_layers=2, head_dim=8, num_heads=8, state_size=16,
                     n_groups=2, chunk_size=8, initializer_range=0.2),
        "slots, recurrent",
    ),
    "recurrent-gemma": (
        RecurrentGemmaConfig(**SIZES, head_dim=8, lru_width=32, attention_window_size=16),
        "own cache, stepwise",
    ),
    "bloom": (BloomConfig(vocab_size=97, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.2), "own cache"),
    "falcon": (
        FalconConfig(vocab_size=97, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, initializer_range=0.2),
        "own cache",
    ),
    "openai-gpt": (
        OpenAIGPTConfig(vocab_size=97, n_positions=512, n_embd=32, n_layer=2, n_head=4, initializer_range=0.2),
        "recomputed",
    ),
}  # fmt: skip


@pytest.fixture(params=CONFIGS, scope="module")
def pair(request: pytest.FixtureRequest) -> tuple[PreTrainedModel, CausalLM]:
    config, path = CONFIGS[request.param]
    torch.manual_seed(1)
    original = AutoModelForCausalLM.from_config(copy.deepcopy(config)).eval()
    lm = CausalLM(copy.deepcopy(original))
    assert lm.path == path, lm.notes
    return original, lm


def full(model: PreTrainedModel, tokens: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        return model(torch.tensor([tokens])).logits[0]


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-4 * float(b.abs().max()), rtol=1e-4)


def test_trees_in_a_ragged_batch_equal_full_recomputation(pair: tuple[PreTrainedModel, CausalLM]) -> None:
    original, lm = pair
    long, short = [(7 * i) % 90 + 3 for i in range(30)], [(5 * i) % 90 + 3 for i in range(11)]
    a, idle, b = lm.open(), lm.open(), lm.open()
    for slot, tokens in ((a, long), (idle, [5, 6, 7]), (b, short)):
        lm.prefill(slot, tokens)
    # Nodes 1 and 2 are siblings, 3 hangs off 2, 4 branches off an earlier point of the text.
    tree = ScoreTree([9, 10, 11, 12, 13], [-1, 0, 0, 2, -1], [-1, -1, -1, -1, 24])
    scores = lm.score([tree, chain([4, 8])], [a, b])
    for node, path in {0: [9], 1: [9, 10], 2: [9, 11], 3: [9, 11, 12]}.items():
        close(scores.of(0)[node], full(original, long + path)[-1])
    close(scores.of(0)[4], full(original, [*long[:24], 13])[-1])
    close(scores.of(1), full(original, [*short, 4, 8])[-2:])

    a.commit([0, 2])
    b.commit([0, 1])
    twin = a.fork()
    idle.close()
    scores = lm.score([chain([20, 21]), chain([22]), chain([30])], [a, b, twin])
    close(scores.of(0), full(original, [*long, 9, 11, 20, 21])[-2:])
    close(scores.of(1), full(original, [*short, 4, 8, 22])[-1:])
    close(scores.of(2), full(original, [*long, 9, 11, 30])[-1:])
    for slot in (a, b, twin):
        slot.close()


def test_any_rollback_is_exact(pair: tuple[PreTrainedModel, CausalLM]) -> None:
    """Drafts accepted in part over many passes, then back by one token, by several passes, into the prompt."""
    original, lm = pair
    text = [(11 * i) % 90 + 3 for i in range(14)]
    slot = lm.open()
    lm.prefill(slot, text)
    for at in range(12):
        draft = [(at * 7 + i) % 90 + 3 for i in range(4)]
        close(lm.score([chain(draft)], [slot]).of(0), full(original, text + draft)[-4:])
        kept = at % 5
        slot.commit(range(min(kept, 4)))
        text += draft[: min(kept, 4)]
    assert slot.length == len(text)
    for back in (1, 9, len(text) - 20):
        slot.rollback(back)
        del text[len(text) - back :]
        close(lm.score([chain([5, 6])], [slot]).of(0), full(original, [*text, 5, 6])[-2:])
        slot.commit([0])
        text.append(5)
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
    close(lm.score([chain([20])], [slot]).of(0), full(original, [*prompt[:14], 11, 12, 20])[-1:])
    slot.close()


def test_memory_is_counted_and_given_back(pair: tuple[PreTrainedModel, CausalLM]) -> None:
    _, lm = pair
    slot = lm.open()
    lm.prefill(slot, list(range(3, 40)))
    assert (slot.nbytes > 0) == (lm.path != "recomputed")
    for at in range(30):
        lm.score([chain([at + 3, at + 4])], [slot])
        slot.commit([0])
    most = slot.nbytes
    assert most <= 4 * sum(p.nbytes for p in lm.model.parameters()), "caches kept for rollbacks are bounded"
    slot.close()
    assert slot.nbytes == 0


def test_state_spaces_with_a_chunk_size_of_their_own_read_short_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.mamba2 import modeling_mamba2

    config = copy.deepcopy(CONFIGS["mamba2"][0])
    config.chunk_size = 64
    torch.manual_seed(0)
    lm = CausalLM(AutoModelForCausalLM.from_config(config))
    assert (lm.path, lm.notes) == ("slots, recurrent", ())
    asked: list[int] = []
    scan = modeling_mamba2.mamba2_chunk_scan

    def watched(*args: Any, chunk_size: int, **options: Any) -> Any:
        asked.append(chunk_size)
        return scan(*args, chunk_size=chunk_size, **options)

    monkeypatch.setattr(modeling_mamba2, "mamba2_chunk_scan", watched)
    slot = lm.open()
    lm.prefill(slot, range(20))
    lm.score([chain([1, 2, 3, 4, 5])], [slot])
    assert asked == [24, 24, 8, 8]  # two layers
    assert {module.chunk_size for module in lm.model.modules() if hasattr(module, "chunk_size")} == {64}


def test_what_sees_later_tokens_is_refused() -> None:
    config = BertConfig(
        vocab_size=97, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        initializer_range=0.2,
    )  # fmt: skip
    with pytest.raises(UnsupportedModel, match="not causal"):
        CausalLM(AutoModelForCausalLM.from_config(config))
