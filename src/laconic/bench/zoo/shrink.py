"""The configuration of an architecture made small, with every kind of layer of its default pattern kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedConfig

WINDOW = 16
"""Sliding windows, chunks and index budgets, in tokens: small enough to matter within a hundred tokens."""

CONTEXT = 1024
"""Longest text, in tokens."""

VOCABULARY = 256


def _named(value: Any, names: str) -> dict[str, Any]:
    return dict.fromkeys(names.split(), value)


SMALL: dict[str, Any] = {
    **_named(64, "hidden_size d_model n_embd embedding_size emb_dim embedding_dim input_embedding_size"),
    **_named(64, "output_embedding_size word_embed_proj_dim attention_hidden_size lru_width ple_embed_dim"),
    **_named(96, "intermediate_size ffn_dim n_inner dff dim_ff d_inner ffn_hidden_size dense_intermediate_size"),
    **_named(96, "decoder_ffn_dim encoder_ffn_dim feed_forward_size intermediate_size_mlp"),
    **_named(32, "moe_intermediate_size expert_ffn_hidden_size shared_expert_intermediate_size"),
    **_named(32, "shared_experts_intermediate_size shared_intermediate_size moe_shared_expert_intermediate_size"),
    **_named(4, "num_attention_heads n_head n_heads num_heads decoder_attention_heads encoder_attention_heads"),
    **_named(4, "attention_heads num_decoder_attention_heads num_encoder_attention_heads swa_num_attention_heads"),
    **_named(2, "num_key_value_heads num_kv_heads num_query_groups swa_num_key_value_heads"),
    **_named(
        16, "head_dim d_head dim_head d_kv kv_channels v_head_dim swa_head_dim qk_nope_head_dim attention_head_dim"
    ),
    **_named(16, "index_head_dim indexer_head_dim linear_head_dim linear_key_head_dim linear_value_head_dim"),
    **_named(16, "mamba_head_dim mamba_headdim mamba_d_head attention_head_size"),
    **_named(8, "qk_rope_head_dim rotary_dim"),
    **_named(16, "kv_lora_rank mamba_d_state state_size ssm_state_size time_step_rank mamba_dt_rank"),
    **_named(24, "q_lora_rank o_lora_rank"),
    **_named(8, "laurel_rank hidden_size_per_layer_input adapter_rank hc_lowrank router_hidden_size gated_norm_rank"),
    **_named(8, "mamba_n_heads mamba_num_heads mamba_chunk_size chunk_size"),
    **_named(128, "mamba_d_ssm"),
    **_named(4, "linear_num_heads linear_num_value_heads"),
    **_named(16, "index_n_heads"),  # with few, many scores are zero together, and which of them count is left to chance
    **_named(2, "linear_num_key_heads"),
    **_named(4, "num_experts n_routed_experts num_local_experts moe_num_experts zero_expert_num"),
    **_named(2, "num_experts_per_tok num_experts_per_token moe_topk moe_k top_k_experts"),
    **_named(1, "n_group topk_group num_expert_group"),
    **_named(WINDOW, "sliding_window sliding_window_size window_size attention_window_size attention_chunk_size"),
    **_named(WINDOW, "index_topk local_attention keep_window_size"),
    **_named(CONTEXT, "max_position_embeddings n_positions n_ctx max_seq_len max_target_positions context_length"),
    **_named(CONTEXT, "model_max_length"),
    **_named(VOCABULARY, "vocab_size vocab_size_per_layer_input unpadded_vocab_size audio_vocab_size"),
    **_named(2, "decoder_layers encoder_layers num_decoder_layers num_encoder_layers num_mem_blocks"),
}
"""Small values by field name; fields of other names keep their defaults."""

LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_blocks")
"""What architectures call the number of their layers."""

_TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id", "decoder_start_token_id")


def small_config(kind: type[PreTrainedConfig], exceptions: Mapping[str, Mapping[str, Any]]) -> PreTrainedConfig:
    """A small configuration of this class, its parts included; ``exceptions`` overrules fields, by model type."""
    extra = exceptions.get(kind.model_type, {})
    try:
        whole = kind()
    except Exception:  # defaults that do not fit together; the exceptions say what does
        whole = kind(**extra)
    default = whole.to_dict()
    chosen = kept_layers(default)
    made: dict[str, Any] = {name: SMALL[name] for name in default if name in SMALL and default[name] is not None}
    for name in LAYERS:
        if default.get(name) is not None:
            made[name] = len(chosen)
    for name in per_layer(default):
        made[name] = [SMALL[name]] * len(chosen) if name in SMALL else [default[name][i] for i in chosen]
    if default.get("kv_lora_rank") is not None and "num_key_value_heads" in made:
        made["num_key_value_heads"] = made["num_attention_heads"]  # latent attention has one key head per query head
    if "is_decoder" in default:
        made["is_decoder"] = True
    made.update({name: 0 for name in _TOKENS if default.get(name) is not None})
    if default.get("per_layer_config"):
        made["per_layer_config"] = _of_layers(default["per_layer_config"], chosen)
    for name in kind.sub_configs:
        part = getattr(whole, name, None)
        if part is not None:
            made[name] = small_config(type(part), exceptions)
    made.update(extra)
    return kind(**made)


def per_layer(default: Mapping[str, Any]) -> list[str]:
    """Fields that hold one value for each layer."""
    count = layer_count(default)
    return [name for name, value in default.items() if isinstance(value, list | tuple) and len(value) == count > 2]


def layer_count(default: Mapping[str, Any]) -> int:
    """The number of layers of a configuration; 0 where it goes by a name not in LAYERS."""
    return next((int(default[name]) for name in LAYERS if isinstance(default.get(name), int)), 0)


def kept_layers(default: Mapping[str, Any]) -> list[int]:
    """Layers to keep: the first of each kind (by all per-layer fields together), the last one, and at least two."""
    count = layer_count(default)
    fields: list[Sequence[Any]] = [default[name] for name in per_layer(default)]
    own = {int(layer) for layer in default.get("per_layer_config") or {}}
    kinds: dict[str, int] = {}
    for layer in range(count):
        kinds.setdefault(repr(([field[layer] for field in fields], layer in own)), layer)
    return sorted({0, *kinds.values(), max(count - 1, 1)})


def _of_layers(given: Mapping[str, Mapping[str, Any]], chosen: Sequence[int]) -> dict[str, Any]:
    """What is set for single layers, for the kept ones: twice the size of the others, so that they still differ."""
    values = {int(layer): fields for layer, fields in given.items()}
    made = {}
    for i, layer in enumerate(chosen):
        if layer in values:
            small = {name: 2 * SMALL[name] if name in SMALL else value for name, value in values[layer].items()}
            if "kv_lora_rank" in small and "num_key_value_heads" in small:
                small["num_key_value_heads"] = small["num_attention_heads"]
            made[f"{i:02d}"] = small
    return made
