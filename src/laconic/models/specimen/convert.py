"""A Llama in a GGUF file to an ordinary Transformers folder, its weights as the file holds them, in float32."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import GenerationConfig, LlamaConfig

from laconic.errors import MissingExtra, ModelError, UnsupportedModel
from laconic.models.specimen.vocabulary import tokenizer


@dataclass(frozen=True, slots=True)
class Converted:
    """Parameters, bytes of the weights as written, and tensors of each number format as read."""

    parameters: int
    nbytes: int
    stored: dict[str, int]


def convert(file: Path, out: Path) -> Converted:
    """Write config, weights, tokenizer and generation config of ``file`` into the folder ``out``.

    Raises MissingExtra without the ``gguf`` package, UnsupportedModel for another architecture or vocabulary,
    ModelError for a file that is no GGUF or lacks something.
    """
    reader = _open(file)
    values = {name: field.contents() for name, field in reader.fields.items() if field.types}
    if values.get("general.architecture") != "llama":
        raise UnsupportedModel(
            f"GGUF files of the architecture '{values.get('general.architecture')}' cannot be converted.",
            "Llama's can; others load by their path, through Transformers.",
        )
    try:
        config = _config(values, tied=all(tensor.name != "output.weight" for tensor in reader.tensors))
        text = tokenizer(values)
    except KeyError as error:
        raise ModelError(f"'{file.name}' does not say {error}.") from error
    weights = _weights(reader, config)
    config.save_pretrained(out)
    text.save_pretrained(out)
    ends = {role: getattr(text, f"{role}_token_id") for role in ("bos", "eos", "pad")}
    GenerationConfig(**{f"{role}_token_id": token for role, token in ends.items()}).save_pretrained(out)
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    return Converted(
        parameters=sum(weight.numel() for weight in weights.values()),
        nbytes=sum(weight.nbytes for weight in weights.values()),
        stored=dict(Counter(tensor.tensor_type.name for tensor in reader.tensors).most_common()),
    )


def _open(file: Path) -> Any:
    try:
        import gguf
    except ImportError as error:
        raise MissingExtra("gguf", "specimen") from error
    try:
        return gguf.GGUFReader(file)
    except (OSError, ValueError) as error:
        raise ModelError(f"'{file}' cannot be read as GGUF: {error}") from error


def _config(values: dict[str, Any], *, tied: bool) -> LlamaConfig:
    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=len(values["tokenizer.ggml.tokens"]),
        hidden_size=values["llama.embedding_length"],
        intermediate_size=values["llama.feed_forward_length"],
        num_hidden_layers=values["llama.block_count"],
        num_attention_heads=values["llama.attention.head_count"],
        num_key_value_heads=values.get("llama.attention.head_count_kv", values["llama.attention.head_count"]),
        max_position_embeddings=values["llama.context_length"],
        # Seven digits are what a float32 holds; more would be the trace of a number like 1e-05.
        rms_norm_eps=float(f"{values['llama.attention.layer_norm_rms_epsilon']:.7g}"),
        rope_parameters={"rope_type": "default", "rope_theta": float(values.get("llama.rope.freq_base", 10000.0))},
        tie_word_embeddings=tied,
        bos_token_id=values.get("tokenizer.ggml.bos_token_id"),
        eos_token_id=values.get("tokenizer.ggml.eos_token_id"),
        pad_token_id=values.get("tokenizer.ggml.padding_token_id"),
        dtype=torch.float32,
    )


def _weights(reader: Any, config: LlamaConfig) -> dict[str, torch.Tensor]:
    """The tensors under Transformers' names. Raises ModelError where some are missing or have no such name."""
    import gguf

    model = _empty(config)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    expected = {names.get_name(name, try_suffixes=(".weight", ".bias")): name for name in model}
    found = {tensor.name: tensor for tensor in reader.tensors}
    if missing := sorted(set(expected) - set(found)):
        raise ModelError(f"{len(missing)} tensors are missing, such as '{missing[0]}'.")
    if unknown := sorted(set(found) - set(expected)):
        raise UnsupportedModel(f"there is no place for {len(unknown)} tensors, such as '{unknown[0]}'.")
    made: dict[str, torch.Tensor] = {}
    for theirs, ours in expected.items():
        tensor = found[theirs]
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
        heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(theirs.split(".")[-2])
        values = values if heads is None else _halves(values, heads)
        made[ours] = torch.from_numpy(np.array(values, order="C"))
        if made[ours].shape != model[ours]:
            raise ModelError(f"'{theirs}' has shape {tuple(made[ours].shape)}, not {tuple(model[ours])}.")
    return made


def _empty(config: LlamaConfig) -> dict[str, torch.Size]:
    """Shapes of the weights that a checkpoint of ``config`` holds."""
    from transformers import LlamaForCausalLM

    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    return {name: weight.shape for name, weight in model.state_dict().items() if name not in tied}


def _halves(weight: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """A head's rows as Transformers rotates them: the first of each pair, then the second; GGUF has them in turn."""
    rows = weight.shape[0]
    pairs = weight.reshape(heads, rows // heads // 2, 2, *weight.shape[1:])
    return pairs.swapaxes(1, 2).reshape(weight.shape)
