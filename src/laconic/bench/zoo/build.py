"""Small random models of any architecture: sizes are shrunk by the names that configurations give them."""

from __future__ import annotations

from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from laconic.errors import UnsupportedModel

LAYERS = 4
_WINDOW = 16
"""Sliding windows, chunks and what indexers choose, in tokens: short enough to matter within a short text."""

_SIZES: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "dim", "embedding_size", "word_embed_proj_dim"), 64),
    **dict.fromkeys(("emb_dim", "embedding_dim"), 64),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"), LAYERS),
    **dict.fromkeys(
        ("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads", "encoder_attention_heads"),
        4,
    ),
    **dict.fromkeys(("num_key_value_heads", "swa_num_key_value_heads", "num_global_key_value_heads"), 2),
    **dict.fromkeys(("head_dim", "v_head_dim", "swa_head_dim", "swa_v_head_dim", "attention_head_dim"), 16),
    **dict.fromkeys(("global_head_dim",), 16),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "decoder_ffn_dim", "dim_feedforward", "d_inner", "dff"), 96),
    **dict.fromkeys(
        (
            "moe_intermediate_size", "shared_expert_intermediate_size", "expert_ffn_hidden_size", "ffn_hidden_size",
            "moe_shared_expert_intermediate_size", "shared_intermediate_size", "intermediate_size_mlp",
            "dense_intermediate_size", "moe_latent_size",
        ),
        48,
    ),
    **dict.fromkeys(("vocab_size", "n_vocab"), 257),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"), 1024),
    **dict.fromkeys(("n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "moe_k", "top_k_experts", "num_experts_per_token"), 2),
    **dict.fromkeys(("n_group", "topk_group", "n_shared_experts", "num_shared_experts", "num_expert_group"), 1),
    **dict.fromkeys(("first_k_dense_replace", "num_dense_layers", "moe_layer_start_index"), 1),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "o_lora_rank", "index_q_lora_rank"), 16),
    **dict.fromkeys(("qk_rope_head_dim",), 8),
    **dict.fromkeys(("qk_nope_head_dim",), 16),
    **dict.fromkeys(("sliding_window", "attention_window_size", "window_size", "attention_chunk_size"), _WINDOW),
    **dict.fromkeys(("local_window_size", "sliding_window_size"), _WINDOW),
    **dict.fromkeys(("index_topk", "index_block_size"), 8),
    **dict.fromkeys(("index_n_heads",), 16),
    **dict.fromkeys(("index_head_dim",), 16),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 16),
    **dict.fromkeys(("mamba_d_head", "mamba_head_dim", "mamba_headdim"), 16),
    **dict.fromkeys(("linear_num_key_heads",), 2),
    **dict.fromkeys(("linear_num_value_heads",), 4),
    **dict.fromkeys(("mamba_n_heads", "mamba_num_heads", "n_mamba_heads"), 8),
    **dict.fromkeys(("mamba_d_state", "ssm_state_size", "state_size"), 16),
    **dict.fromkeys(("mamba_n_groups", "n_groups", "mamba_ngroups"), 1),
    **dict.fromkeys(("mamba_d_ssm",), 128),
    **dict.fromkeys(("mamba_chunk_size", "chunk_size"), 16),
    **dict.fromkeys(("hidden_size_per_layer_input", "vocab_size_per_layer_input"), 16),
    **dict.fromkeys(("lru_width", "attention_hidden_size"), 64),
    **dict.fromkeys(("altup_num_inputs",), 2),
    **dict.fromkeys(("num_kv_shared_layers",), 0),
    **dict.fromkeys(("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_layers"), 0),
    **dict.fromkeys(("attention_dropout", "hidden_dropout", "dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 0),
}  # fmt: skip
"""Values by the name of a field; a configuration takes those that it has."""

_EXACT: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [2]},
    "codegen": {"rotary_dim": 8},
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10000.0},
                                                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}},
    "dbrx": {"d_model": 64, "n_heads": 4, "n_layers": 2, "max_seq_len": 1024,
             "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
             "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2}},
    "deepseek_v2": {"n_routed_experts": 4, "num_experts_per_tok": 2, "topk_method": "greedy"},
    "dots1": {"n_shared_experts": 1, "n_routed_experts": 4, "num_experts_per_tok": 2},
    "falcon": {"new_decoder_architecture": True, "num_kv_heads": 2},
    "gemma3n_text": {"hidden_size_per_layer_input": 16, "vocab_size_per_layer_input": 257, "laurel_rank": 8,
                     "num_hidden_layers": 6, "intermediate_size": [96] * 6, "activation_sparsity_pattern": [0.0] * 6,
                     "num_kv_shared_layers": 2,
                     "layer_types": ["sliding_attention", "full_attention"] * 3},
    "gemma4_text": {"vocab_size_per_layer_input": 257, "num_kv_shared_layers": 2, "num_hidden_layers": 6,
                    "layer_types": ["sliding_attention", "full_attention"] * 3},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "window_size": _WINDOW},
    "gptj": {"rotary_dim": 8},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention", "linear_attention", "linear_attention"]},
    "jamba": {"attn_layer_period": 4, "attn_layer_offset": 2, "expert_layer_period": 2, "expert_layer_offset": 1},
    "lfm2": {"layer_types": ["conv", "full_attention", "conv", "conv"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv", "conv"]},
    "longcat_flash": {"zero_expert_num": 2},
    "mamba2": {"num_heads": 8, "head_dim": 16, "n_groups": 2},
    "nemotron": {"head_dim": 16, "num_key_value_heads": 2},
    "prophetnet": {"num_decoder_layers": 2, "num_encoder_layers": 2},
    "qwen4_exp_text": {"hc_lowrank": 8, "ple_embed_dim": 16, "ngram_vocab_size_base": 101, "split_ngram_parts": 1,
                       "make_ngram_vocab_size_divisible_by": 1, "heads_per_ngram": 2,
                       "indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 16, "indexer_budget": 16,
                       "indexer_compress_ratio": 4},
    "recurrent_gemma": {"num_hidden_layers": 3},
    "reformer": {"is_decoder": True},
    "xlm": {"causal": True},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"layers_block_type": ["linear_attention", "hybrid", "linear_attention", "hybrid"], "mamba_dt_rank": 4,
              "n_mamba_heads": 2, "attention_hidden_size": 128, "attention_head_dim": 32},
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid", "linear_attention", "hybrid"],
               "hybrid_layer_ids": [1, 3], "attention_hidden_size": 128, "attention_head_dim": 32, "adapter_rank": 8},
    "zaya": {"num_experts_per_tok": 1},
}  # fmt: skip
"""What is not found by name."""

_MOST = 20_000_000
"""Parameters beyond which a model is not built."""
_SPREAD = 0.35
"""Standard deviation of a matrix's products: enough that logits depend on the text far above rounding."""


def kinds() -> list[str]:
    """The model types that Transformers has a causal language model for."""
    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def config_of(kind: str) -> PreTrainedConfig:
    """A small configuration. Raises UnsupportedModel where none can be made."""
    try:
        whole = CONFIG_MAPPING[kind]()
    except Exception as error:  # whatever a configuration's own code raises
        raise UnsupportedModel(f"'{kind}' has no default configuration: {error}") from error
    text = whole.get_text_config(decoder=True)
    made = _shrunk(text)
    if text is whole:
        return made
    return made if text.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES else type(whole)(text_config=made)


def build(kind: str, *, seed: int = 0) -> PreTrainedModel:
    """A random float32 model. Raises UnsupportedModel with the reason where it cannot be built here."""
    config = config_of(kind)
    if getattr(config, "is_encoder_decoder", False):
        config.is_encoder_decoder = False  # the decoder alone, as their causal models are
        config.is_decoder = True
    torch.manual_seed(seed)
    try:
        with torch.device("meta"):
            size = sum(parameter.numel() for parameter in AutoModelForCausalLM.from_config(config).parameters())
        if size > _MOST:
            raise UnsupportedModel(f"'{kind}' could not be made small: {size:,} parameters.")
        model = AutoModelForCausalLM.from_config(config).eval()
    except UnsupportedModel:
        raise
    except Exception as error:  # whatever a model's own code raises
        raise UnsupportedModel(f"'{kind}' cannot be built: {type(error).__name__}: {error}") from error
    _spread(model, seed)
    return model


def _shrunk(text: PreTrainedConfig) -> PreTrainedConfig:
    """The configuration with small sizes, and as many layers as show each kind that it has by default."""
    known = text.to_dict()
    names = {*known, *getattr(text, "attribute_map", {})}
    said = {name: value for name, value in _SIZES.items() if name in names and known.get(name, 0) is not None}
    if "head_dim" in known:
        said["head_dim"] = 16
    if known.get("kv_lora_rank") is not None or "qk_rope_head_dim" in known:  # latent attention has no groups
        said |= {"num_key_value_heads": 4, "head_dim": 8} if "head_dim" in known else {"num_key_value_heads": 4}
    for name in ("layer_types", "layers_block_type", "mlp_layer_types"):
        if isinstance(known.get(name), list):
            said[name] = _some(known[name], LAYERS)
    said |= _EXACT.get(text.model_type, {})
    while True:
        try:
            return type(text)(**said)
        except (AttributeError, NotImplementedError) as error:  # a size that follows from others in this one
            fixed = next((name for name in said if f"'{name}'" in str(error) or f"`{name}`" in str(error)), None)
            if fixed is None:
                raise
            del said[fixed]


def _some(kinds: list[str], count: int) -> list[str]:
    """``count`` of ``kinds``, each of them at least once, in the order in which they come first."""
    first = list(dict.fromkeys(kinds))
    chosen = [*kinds[: max(count - len(first), 0)], *first]
    return chosen[-count:] if len(chosen) >= count else [*chosen, *first][:count]


@torch.no_grad()
def _spread(model: PreTrainedModel, seed: int) -> None:
    """Draw matrices so that each keeps about the size of what goes through it, and the head tells tokens apart."""
    generator = torch.Generator().manual_seed(seed)
    head = model.get_output_embeddings()
    for parameter in model.parameters():
        if parameter.dim() >= 2 and parameter.shape[-1] > 4:
            scale = (2 * _SPREAD) / parameter.shape[-1] ** 0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    if head is not None:
        head.weight.copy_(torch.randn(head.weight.shape, generator=generator) * 2 / head.weight.shape[-1] ** 0.5)
