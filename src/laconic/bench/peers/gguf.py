"""A checkpoint in llama.cpp's format, its weights as they are: what the llama.cpp peer reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from laconic.bench.peers.base import PeerUnavailable
from laconic.models.text import Text

FAMILIES = ("qwen2", "qwen3", "llama")
"""Model types that GGUF stores under the same name, heads laid out as Transformers has them but for INTERLEAVED."""
INTERLEAVED = ("llama",)
"""Model types whose rotary pairs GGUF wants side by side, where Transformers has them half a head apart."""


def write(model: str, text: Text, path: Path, dtype: torch.dtype) -> None:
    """Write the checkpoint at ``model`` to ``path``, matrices in ``dtype`` (float32 or bfloat16), vectors in float32.

    Requests go to llama.cpp as token ids, so its own tokenizer is given the vocabulary and nothing more. Raises
    PeerUnavailable for another family of models or without the ``gguf`` package.
    """
    try:
        import gguf
    except ImportError as error:
        raise PeerUnavailable("llama.cpp needs its format written: pip install 'laconic[peers]'.") from error
    config = AutoConfig.from_pretrained(model)
    if config.model_type not in FAMILIES:
        raise PeerUnavailable(
            f"llama.cpp: only {', '.join(FAMILIES[:-1])} and {FAMILIES[-1]} can be written as GGUF here."
        )
    rope = config.rope_parameters or {}
    if rope.get("rope_type", "default") != "default":
        raise PeerUnavailable(f"llama.cpp: rotary embeddings of type {rope['rope_type']} are not written as GGUF here.")
    writer: Any = gguf.GGUFWriter(path, config.model_type)
    _describe(writer, config, float(rope["rope_theta"]))
    _vocabulary(writer, gguf, text, config.vocab_size)
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, config.model_type.upper()), config.num_hidden_layers)
    weights = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
    tied = bool(config.tie_word_embeddings)
    for name, tensor in weights.state_dict().items():
        if tied and name == "lm_head.weight":
            continue
        theirs = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if theirs is None:
            raise PeerUnavailable(f"llama.cpp: GGUF has no name for the weight '{name}'.")
        if config.model_type in INTERLEAVED:
            tensor = _side_by_side(name, tensor, config)
        if tensor.dim() == 1 or dtype == torch.float32:
            writer.add_tensor(theirs, tensor.float().contiguous().numpy())
        else:
            raw = tensor.contiguous().view(torch.uint8).numpy()
            writer.add_tensor(theirs, raw, raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _side_by_side(name: str, tensor: torch.Tensor, config: Any) -> torch.Tensor:
    """Rows of a query or key projection in the order of GGUF's Llama; any other weight as it is."""
    layer = name.rsplit(".", 2)[-2]
    if layer not in ("q_proj", "k_proj"):
        return tensor
    heads = config.num_attention_heads if layer == "q_proj" else config.num_key_value_heads
    return tensor.reshape(heads, 2, -1, tensor.shape[1]).transpose(1, 2).reshape(tensor.shape)


def _describe(writer: Any, config: Any, rope_theta: float) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_rope_dimension_count(head_dim)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(rope_theta)


def _vocabulary(writer: Any, gguf: Any, text: Text, size: int) -> None:
    tokenizer = text.tokenizer
    special = set(tokenizer.all_special_ids)
    known = {index: token for token, index in tokenizer.get_vocab().items()}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([known.get(index, f"[unused{index}]") for index in range(size)])
    types = gguf.TokenType
    writer.add_token_types(
        [
            int(types.CONTROL if index in special else types.NORMAL if index in known else types.UNUSED)
            for index in range(size)
        ]
    )
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"].get("merges") or []
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    if text.eos:
        writer.add_eos_token_id(min(text.eos))
    writer.add_add_bos_token(False)
