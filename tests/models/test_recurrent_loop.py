"""The fast loop over models with recurrent layers against the slow one: drafts, trees, batches and riding probes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import pytest
import torch
from transformers import AutoModelForCausalLM, Lfm2Config, PreTrainedConfig, PreTrainedModel, Qwen3NextConfig

from laconic import Engine, Limits, Methods, Request, Sampling, reference
from laconic.models.causal_lm import CausalLM
from laconic.policy import registry
from laconic.thinking.base import Controller
from tests import tiny

SIZES: dict[str, Any] = {
    "vocab_size": 264,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "tie_word_embeddings": False,
}
CONFIGS: dict[str, PreTrainedConfig] = {
    "gated delta rule": Qwen3NextConfig(
        **SIZES, head_dim=8, linear_key_head_dim=8, linear_value_head_dim=8, linear_num_key_heads=2,
        linear_num_value_heads=4, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24,
        shared_expert_intermediate_size=24,
    ),
    "short convolutions": Lfm2Config(**SIZES, layer_types=["conv", "full_attention", "conv", "conv"]),
}  # fmt: skip
TEXT = tiny.text()
THINK = {
    "free": (),
    "exit": ("answer-confidence:threshold=0.3",),
}
METHODS: dict[str, dict[str, str]] = {
    "plain": {"drafter": "none"},
    "suffix": {"drafter": "suffix"},
    "tree": {"drafter": "draft-model", "shape": "best-first", "length": "constant:10"},
    "separate": {"drafter": "draft-model", "probes": "separate"},
}


def built(config: PreTrainedConfig) -> PreTrainedModel:
    """A random model that writes short steps and ends its thoughts now and then."""
    torch.manual_seed(3)
    made = AutoModelForCausalLM.from_config(copy.deepcopy(config)).eval()
    with torch.no_grad():
        made.lm_head.weight.copy_(torch.randn_like(made.lm_head.weight) * 2.0 / 32**0.5)
        offsets = torch.zeros(264)
        for token, value in tiny.REASONER.items():
            offsets[TEXT.encode(token)] = value
        made.lm_head.bias = torch.nn.Parameter(offsets)
    return cast(PreTrainedModel, made)


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_equals_the_reference_loop(kind: str, temperature: float) -> None:
    model = built(CONFIGS[kind])
    target, draft = CausalLM(copy.deepcopy(model)), CausalLM(tiny.noisy(model, 0.1))
    assert target.path == "slots, recurrent"

    def logits(tokens: Sequence[int]) -> torch.Tensor:
        with torch.inference_mode():
            return cast(torch.Tensor, model(torch.tensor([list(tokens)])).logits[0, -1])

    asked = [
        Request(
            tuple(TEXT.encode(f"Hello! What is {i}+{i}?" + "<think>\n" * (i % 3 > 0))),
            Sampling(temperature, seed=i),
            Limits(32),
        )
        for i in range(3)
    ]
    for think in THINK.values():
        controllers = [cast(Controller, registry.build("think", spec)) for spec in think]
        expected = [reference.decode(logits, TEXT, request, controllers, 512) for request in asked]
        for name, methods in METHODS.items():
            engine = Engine(target, TEXT, Methods(verifier="match", think=think, **methods), draft)  # type: ignore[arg-type]
            for batch in (1, 3) if name != "separate" else (1,):
                found = engine.run(asked, batch=batch)
                assert [(list(r.tokens), r.finish_reason) for r in found] == expected, (think, name, batch)
    assert not target.slots
    assert not draft.slots
