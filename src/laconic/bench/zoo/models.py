"""Small random models of the causal decoders that the installed Transformers has."""

from __future__ import annotations

from typing import Any, cast

import torch
import transformers
from transformers import CONFIG_MAPPING, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from laconic.bench.zoo.shrink import small_config
from laconic.errors import UnsupportedModel

_ROTARY = {"rope_type": "default", "rope_theta": 10000.0}
_ROTARY_WHOLE = {"head_dim": 8}  # some latent attentions call their rotary part the head

_ZAMBA = {"num_hidden_layers": 4, "layers_block_type": ["linear_attention", "hybrid"] * 2}

EXCEPTIONS: dict[str, dict[str, Any]] = {
    "axk1": _ROTARY_WHOLE,
    "bamba": {"num_hidden_layers": 3, "attn_layer_indices": [1]},
    "blt": {"encoder_hash_byte_group_vocab": 256},
    "cohere_compass_text": {
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": dict.fromkeys(("sliding_attention", "full_attention"), _ROTARY),
    },
    "cpmant": {"prompt_types": 4, "prompt_length": 4, "position_bias_num_buckets": 32},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
        "ffn_config": {"ffn_hidden_size": 64, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "deepseek_v2": {**_ROTARY_WHOLE, "num_experts_per_tok": 2, "first_k_dense_replace": 1},
    "deepseek_v3": {**_ROTARY_WHOLE, "first_k_dense_replace": 1},
    "deepseek_v4": {"compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 16}},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "first_k_dense_replace": 1},
    "dots3_note_text": {"head_dim": 40},
    "ernie4_5_moe": {"num_hidden_layers": 3, "moe_layer_end_index": 2},
    "falcon_h1": {"mamba_d_head": 16},
    "glm4_moe": {"num_hidden_layers": 3},
    "gemma3n_text": {
        "num_hidden_layers": 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "num_kv_shared_layers": 2,
        "intermediate_size": [96] * 4,
        "activation_sparsity_pattern": [0.95, 0.0, 0.0, 0.0],
    },
    "gemma4_text": {
        "num_hidden_layers": 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "num_kv_shared_layers": 2,
        "per_layer_config": {"01": {"head_dim": 32}, "03": {"head_dim": 32}},
    },
    "gpt_neo": {
        "attention_types": [[["global", "local"], 1]],
        "attention_layers": ["global", "local"],
        "num_layers": 2,
    },
    "granitemoehybrid": {"num_hidden_layers": 3, "layer_types": ["mamba", "attention", "mamba"]},
    "hunyuan_v1_dense": {"head_dim": 16},
    "hunyuan_v1_moe": {"head_dim": 16, "num_experts": 4, "moe_topk": 2},
    "jamba": {"num_hidden_layers": 4, "attn_layer_period": 4, "attn_layer_offset": 2},
    "lfm2": {"num_hidden_layers": 3, "full_attn_idxs": [1], "layer_types": ["conv", "full_attention", "conv"]},
    "lfm2_moe": {"num_hidden_layers": 3, "num_dense_layers": 1, "layer_types": ["conv", "full_attention", "conv"]},
    "llama4_text": {
        "num_hidden_layers": 4,
        "no_rope_layers": [1, 1, 1, 0],
        "moe_layers": [1, 3],
        "layer_types": ["chunked_attention"] * 3 + ["full_attention"],
    },
    "longcat_flash": _ROTARY_WHOLE,
    "mamba2": {"num_heads": 8, "head_dim": 16, "n_groups": 2},
    "minimax_m3_vl_text": {
        "layer_types": ["full_attention", "minimax_m3_sparse"],
        "mlp_layer_types": ["dense", "sparse"],
        "index_block_size": 4,
        "index_topk_blocks": 4,
    },
    "ministral": {"head_dim": 16},
    "modernbert-decoder": {"sliding_window": 16},
    "nemotron": {"num_key_value_heads": 2},
    "recurrent_gemma": {"num_hidden_layers": 3},
    "reformer": {
        "axial_pos_embds_dim": [24, 40],
        "axial_pos_shape": [32, 32],
        "attn_layers": ["local", "lsh"],
        "num_hidden_layers": 2,
    },
    "roc_bert": {"pronunciation_embed_dim": 64, "shape_embed_dim": 64, "shape_vocab_size": 256},
    "xlm": {"causal": True},
    "xlnet": {"attn_type": "uni"},
    "xmod": {"default_language": "en_XX"},
    "youtu": _ROTARY_WHOLE,
    "qwen4_exp_text": {
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 16,
        "indexer_budget": 16,
        "indexer_compress_ratio": 4,
        "eos_token_id": 0,
        "ple_layer_ids": [1],
        "ple_embed_dim": 64,
        "ngram_vocab_size_base": 500,
        "split_ngram_parts": 4,
    },
    "zamba": {**_ZAMBA, "attention_head_dim": 32, "attention_hidden_size": 128},
    "zamba2": {**_ZAMBA, "attention_head_dim": 32, "attention_hidden_size": 128, "hybrid_layer_ids": [1, 3]},
    "zaya": {"num_experts_per_tok": 1},
}
"""What the shrinking by field names gets wrong, by model type."""


def kinds() -> list[str]:
    """The model types that Transformers has a causal language model for, in order."""
    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def build(model_type: str, seed: int = 0, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A small model of this type with random weights on the CPU, in evaluation mode.

    Raises UnsupportedModel with the reason where it cannot be built (a missing package, a part that is not in
    Transformers ...).
    """
    name = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(model_type)
    if name is None:
        raise UnsupportedModel(f"'{model_type}' is not a causal language model.", "kinds() lists those there are.")
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            architecture = getattr(transformers, name)
            kind = CONFIG_MAPPING[model_type]
            if not issubclass(kind, architecture.config_class):
                kind = architecture.config_class  # the language model alone of a model of several parts
            config = small_config(kind, EXCEPTIONS)
            made = cast(PreTrainedModel, architecture(config))
            enliven(made)
    except Exception as error:
        reason = str(error).strip().splitlines() or [""]
        raise UnsupportedModel(
            f"'{model_type}' cannot be built small: {type(error).__name__}: {reason[-1].strip()}",
            "Install the package it asks for, or add its fields to laconic.bench.zoo.",
        ) from error
    return made.to(dtype).eval().requires_grad_(False)


@torch.no_grad()
def enliven(model: PreTrainedModel) -> None:
    """Scale random weights so that logits depend on the text.

    Fresh models have matrices of standard deviation 0.02 and so nearly constant logits. Here products keep the size
    of what goes in, embeddings have size 1, and gains and biases are shaken by a tenth. What is large already (decay
    rates of recurrences and the like) stays as its architecture draws it.
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    for parameter in model.parameters():
        if parameter.dim() < 2:
            parameter.add_(0.1 * torch.randn_like(parameter))
            continue
        size = float(parameter.square().mean().sqrt())
        if size > _LARGE:
            continue
        target = 1.0 if id(parameter) in embeddings else max(parameter.shape[-2:]) ** -0.5
        if size == 0.0:
            parameter.normal_(std=target)
        else:
            parameter.mul_(target / size)


_LARGE = 0.5
"""Matrices with a root mean square above this keep their values."""
