"""The two networks, of Qwen3 architecture in plain Transformers, and an attention that is quick to train on a CPU."""

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import Qwen3ForCausalLM

# Depth matters more than width at this size, for sums as well as for what a pass costs.
TARGET = {
    "hidden_size": 192, "num_hidden_layers": 8, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 64,
    "intermediate_size": 512,
}  # fmt: skip
DRAFT = {
    "hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 32,
    "intermediate_size": 320,
}  # fmt: skip
TINY = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
    "intermediate_size": 64,
}  # fmt: skip


def build(shape: dict[str, int], vocab_size: int, eos: int, pad: int) -> "Qwen3ForCausalLM":
    """A fresh network; its attention is the one below while it is trained, an ordinary one once it is loaded."""
    from transformers import AttentionInterface, Qwen3Config, Qwen3ForCausalLM

    AttentionInterface.register("short_causal", short_causal_attention)
    config = Qwen3Config(
        vocab_size=vocab_size,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        initializer_range=0.02,
        eos_token_id=eos,
        pad_token_id=pad,
        bos_token_id=None,
        attn_implementation="short_causal",
        **shape,
    )
    return Qwen3ForCausalLM(config)


def short_causal_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float = 1.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention in bfloat16 as two matrix products: twice as fast here as the fused kernel, backward included.

    `query` is [batch, heads, length, width], `key` and `value` have fewer heads; right padding needs no mask.
    """
    batch, heads, length, width = query.shape
    groups = key.shape[1]
    rows = (query * scaling).bfloat16().reshape(batch, groups, heads // groups * length, width)
    future = torch.full((length, length), float("-inf"), dtype=torch.bfloat16).triu(1)
    weights = (rows @ key.bfloat16().transpose(-1, -2)).view(batch, heads, length, length) + future
    weights = torch.softmax(weights, -1).view(batch, groups, -1, length)
    mixed = (weights @ value.bfloat16()).view(batch, heads, length, width).transpose(1, 2)
    return mixed.to(query.dtype), None
