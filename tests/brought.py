"""Small checkpoints that bring a multi-token-prediction head, as the families publish them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.modeling_layers import MtpModel

from laconic.models.brought import BroughtHead
from laconic.models.causal_lm import CausalLM

SIZES = {
    "vocab_size": 264, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 512, "eos_token_id": None, "bos_token_id": None, "pad_token_id": None,
}  # fmt: skip
_EXPERTS = {
    "moe_intermediate_size": 16, "n_routed_experts": 4, "num_experts_per_tok": 2, "first_k_dense_replace": 1,
}  # fmt: skip
FAMILIES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "deepseek_v3": ("DeepseekV3", {
        "num_key_value_heads": 4, "n_shared_experts": 1, "n_group": 2, "topk_group": 1, "kv_lora_rank": 16,
        "q_lora_rank": 24, "qk_rope_head_dim": 8, "v_head_dim": 8, "qk_nope_head_dim": 8, **_EXPERTS,
    }),
    "glm4_moe": ("Glm4Moe", {"num_key_value_heads": 2, "head_dim": 8, **_EXPERTS}),
    "qwen3_5": ("Qwen3_5Text", {
        "num_key_value_heads": 2, "head_dim": 8, "linear_num_value_heads": 4, "linear_num_key_heads": 2,
        "linear_key_head_dim": 8, "linear_value_head_dim": 8, "layer_types": ["linear_attention", "full_attention"],
    }),
    "qwen3_next": ("Qwen3Next", {
        "num_key_value_heads": 2, "head_dim": 8, "linear_num_value_heads": 4, "linear_num_key_heads": 2,
        "linear_key_head_dim": 8, "linear_value_head_dim": 8, "layer_types": ["linear_attention", "full_attention"],
        "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16,
    }),
}  # fmt: skip


def write(folder: Path, family: str, seed: int = 0) -> MtpModel:
    """A random checkpoint of this family in ``folder``; returns its head as Transformers made it."""
    torch.manual_seed(seed)
    name, more = FAMILIES[family]
    config = getattr(transformers, f"{name}Config")(**SIZES, **more)
    model = getattr(transformers, f"{name.removesuffix('Text')}ForCausalLM")(config).eval()
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(20)
    under = not getattr(config, "num_mtp_layers", None)
    if under:
        config.num_mtp_layers, config.mtp_layer_types = 1, ["full_attention"]
    head = MtpModel(model, 1).eval()
    for weight in head.layers.parameters():
        nn.init.normal_(weight, std=0.3)
    if under:
        del config.num_mtp_layers, config.mtp_layer_types
    model.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    for key, value in head.layers[0].state_dict().items():
        weights |= _under_mtp(key, value) if under else _behind(key, value, config.num_hidden_layers)
    whole = {key: value.contiguous() for key, value in weights.items()}
    save_file(whole, folder / "model.safetensors", {"format": "pt"})
    return head


def lend(target: CausalLM, seed: int = 0) -> None:
    """Let a model that has none bring a random head, which is a layer of its own kind."""
    torch.manual_seed(seed)
    config = target.model.config
    config.num_mtp_layers, config.mtp_layer_types = 1, ["full_attention"]
    head = MtpModel(target.model, 1).eval()  # type: ignore[arg-type]
    del config.num_mtp_layers, config.mtp_layer_types
    for weight in head.layers.parameters():
        nn.init.normal_(weight, std=0.3)
    head.config._attn_implementation = "sdpa"
    norm = target.model.get_decoder().norm
    target._own_head = BroughtHead(head.requires_grad_(False), norm, target.num_layers - 1, target.vocab_size)


def _under_mtp(key: str, value: Tensor) -> dict[str, Tensor]:
    """As Qwen writes it."""
    outside = {
        "enorm.weight": "pre_fc_norm_embedding.weight", "hnorm.weight": "pre_fc_norm_hidden.weight",
        "eh_proj.weight": "fc.weight", "post_norm.weight": "norm.weight",
    }  # fmt: skip
    return {"mtp." + outside.get(key, "layers.0." + key.removeprefix("mtp_block.")): value.clone()}


def _behind(key: str, value: Tensor, last: int) -> dict[str, Tensor]:
    """As DeepSeek writes it: one more layer, its experts one by one."""
    key = key.removeprefix("mtp_block.").replace("post_norm", "shared_head.norm")
    before = f"model.layers.{last}."
    if key == "mlp.experts.gate_up_proj":
        return {
            f"{before}mlp.experts.{i}.{part}_proj.weight": half.clone()
            for i, both in enumerate(value)
            for part, half in zip(("gate", "up"), both.chunk(2), strict=True)
        }
    if key == "mlp.experts.down_proj":
        return {f"{before}mlp.experts.{i}.down_proj.weight": one.clone() for i, one in enumerate(value)}
    return {before + key: value.clone()}
