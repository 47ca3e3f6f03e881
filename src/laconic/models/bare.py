"""Checkpoints that are known to run right in the written-out pass: read without Transformers' models.

Importing those takes longer than everything else that a small model needs to begin. What is left out with them is the
trial against the model's own pass (``models.trial``), so this is for checkpoints alone whose trial has been made
before: those that ship with laconic, by their fingerprints. The tests hold them to Transformers' logits.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

KNOWN = frozenset({"ad70ac31c24c1856", "3e7947c0a4667a9f"})
"""Fingerprints (``causal_lm.digest``) of the bundled pair."""


class Weights(nn.Module):
    """A matrix ``[out, in]`` that is about to be read; PyTorch's own layers would draw random numbers for it first."""

    bias = None

    def __init__(self, out: int, inner: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out, inner))


class Norm(nn.Module):
    """The weight of a root-mean-square norm; :class:`laconic.models.fast.Norm` computes it."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))
        self.variance_epsilon = eps


class Attention(nn.Module):
    """Projections of a Qwen3 attention layer."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.scaling = config.head_dim**-0.5
        self.sliding_window = None
        width, queries = config.hidden_size, config.num_attention_heads * config.head_dim
        keys = config.num_key_value_heads * config.head_dim
        self.q_proj = Weights(queries, width)
        self.k_proj = Weights(keys, width)
        self.v_proj = Weights(keys, width)
        self.o_proj = Weights(width, queries)
        self.q_norm = Norm(config.head_dim, config.rms_norm_eps)
        self.k_norm = Norm(config.head_dim, config.rms_norm_eps)


class Gated(nn.Module):
    """Projections of a gated feed-forward layer."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.gate_proj = Weights(config.intermediate_size, config.hidden_size)
        self.up_proj = Weights(config.intermediate_size, config.hidden_size)
        self.down_proj = Weights(config.hidden_size, config.intermediate_size)
        self.act_fn = nn.SiLU()


class Layer(nn.Module):
    """A decoder layer."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = Gated(config)
        self.input_layernorm = Norm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = Norm(config.hidden_size, config.rms_norm_eps)


class Rotary(nn.Module):
    """Rotary angles of the usual kind: cosines and sines ``[1, positions, head_dim]`` as in Transformers."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.dim, self.theta = config.head_dim, float(config.rope_parameters["rope_theta"])

    def forward(self, like: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Angles of ``positions [1, n]``, in the type of ``like``."""
        steps = torch.arange(0, self.dim, 2, dtype=torch.int64).to(device=like.device, dtype=torch.float)
        frequencies = 1.0 / (self.theta ** (steps / self.dim))
        angles = (frequencies[None, :, None] @ positions[:, None, :].float()).transpose(1, 2)
        both = torch.cat((angles, angles), dim=-1)
        return both.cos().to(like.dtype), both.sin().to(like.dtype)


class Base(nn.Module):
    """Everything below the output head."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.embed_tokens = Weights(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = Norm(config.hidden_size, config.rms_norm_eps)
        self.rotary_emb = Rotary(config)


class Bare(nn.Module):
    """A Qwen3 model's weights under Transformers' names, for ``fast.FastDecoder`` to compute with."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.model = Base(config)
        self.lm_head = Weights(config.vocab_size, config.hidden_size)

    @property
    def dtype(self) -> torch.dtype:
        """The weights' number format."""
        return self.model.embed_tokens.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.model.embed_tokens.weight.device

    @property
    def base_model(self) -> Base:
        """As in Transformers."""
        return self.model

    def get_input_embeddings(self) -> Weights:
        """As in Transformers."""
        return self.model.embed_tokens

    def get_output_embeddings(self) -> Weights:
        """As in Transformers."""
        return self.lm_head


def shipped(place: str | Path) -> bool:
    """Whether a folder is one of laconic's own checkpoints."""
    from laconic.models.reasoner import draft_path, target_path

    return Path(place) in (target_path(), draft_path())


def read(place: str | Path, config: Any) -> Bare:
    """The checkpoint in a folder of laconic's own.

    Raises RuntimeError for weights that are not those of its configuration, as ``load_state_dict`` does.
    """
    from safetensors.torch import load_file

    model = Bare(config)
    weights = load_file(Path(place) / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]  # they are tied
    model.load_state_dict(weights, strict=True, assign=True)
    model.lm_head.weight = model.model.embed_tokens.weight
    return model.eval().requires_grad_(False)


def plain(config: Any) -> bool:
    """Whether a configuration asks for nothing that is not written here."""
    said = json.loads(config.to_json_string(use_diff=False))
    rope = said.get("rope_parameters") or {}
    return (
        said["model_type"] == "qwen3"
        and said["hidden_act"] == "silu"
        and rope.get("rope_type", "default") == "default"
        and bool(said["tie_word_embeddings"])
        and not said["attention_bias"]
        and not said.get("use_sliding_window")
    )
