"""What a model costs in numbers, from its config alone: weights by kind, bytes of cache, operations per token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from laconic.errors import UnsupportedModel


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Parameters by the way a pass reads them, and what a token adds to the cache.

    ``table`` is the input embedding, of which a pass reads only a few rows; ``head`` the output projection, the same
    weights if ``tied``; ``dense`` everything that every token multiplies with; ``experts`` all expert weights of all
    layers, of which a token uses ``active`` out of ``choices``.
    """

    kind: str
    table: int
    head: int
    dense: int
    experts: int
    active: int
    choices: int
    tied: bool
    windows: tuple[int | None, ...]
    """Per layer, how far back attention looks; None for everything."""
    cache_width: int
    """Numbers that one token adds to one layer's cache: keys and values, or their joint compressed form (MLA)."""
    attention_width: int
    """Per layer: heads times (query dimension + value dimension), the multiply-adds of a token with one earlier one."""

    @staticmethod
    def of(config: Any) -> Anatomy:
        """Build the model without memory for its weights, and sort its parameters by name.

        Raises UnsupportedModel for what laconic cannot decode.
        """
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.cache_utils import DynamicCache, LinearAttentionCacheLayerMixin

        from laconic.models.causal_lm import refuse

        refuse(config)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        text = config.get_text_config()
        kept = {type(layer) for layer in DynamicCache(config=config).layers}
        if any(issubclass(kind, LinearAttentionCacheLayerMixin) for kind in kept):
            raise UnsupportedModel(
                f"'{config.model_type}' has recurrent layers, whose costs this roofline does not know.",
                "Its passes can be measured all the same.",
            )
        counts = dict.fromkeys(("table", "head", "dense", "experts"), 0)
        outputs, inputs = model.get_output_embeddings().weight, model.get_input_embeddings().weight
        for name, parameter in model.named_parameters():
            counts[_kind(name, parameter, inputs, outputs)] += parameter.numel()
        tied = outputs is inputs or bool(text.tie_word_embeddings)
        if tied:
            counts["head"] = counts["table"] = inputs.numel()
        choices = _first(text, "num_experts", "num_local_experts", "n_routed_experts") if counts["experts"] else 0
        active = _first(text, "num_experts_per_tok", "moe_topk", "top_k_experts") if counts["experts"] else 0
        if counts["experts"] and not (choices and active):
            raise UnsupportedModel(f"'{config.model_type}' has experts, but its config does not say how many are used.")
        windows = _windows(text)
        return Anatomy(
            config.model_type, **counts, active=active, choices=choices, tied=tied, windows=windows,
            cache_width=_cache_width(text), attention_width=_attention_width(text),
        )  # fmt: skip

    @property
    def parameters(self) -> int:
        """All parameters, tied ones once."""
        return self.table + self.dense + self.experts + (0 if self.tied else self.head)

    @property
    def active_parameters(self) -> float:
        """Parameters that one token is multiplied with (the input embedding is looked up, not multiplied)."""
        return self.head + self.dense + (self.experts * self.active / self.choices if self.choices else 0)

    def touched(self, tokens: float) -> float:
        """Parameters that a pass over ``tokens`` tokens has to read.

        With tokens routed independently and evenly, ``E (1 - (1 - k/E)^n)`` of E experts are expected to be used.
        Neighbouring tokens share experts more often than that, so real passes read a little less.
        """
        distinct = 1 - (1 - self.active / self.choices) ** tokens if self.choices else 0.0
        return self.head + self.dense + self.experts * distinct

    def keys(self, context: float) -> float:
        """Committed tokens that one request's new token sees, summed over layers."""
        return sum(context if window is None else min(context, window) for window in self.windows)

    def flops(self, tokens: float, context: float) -> float:
        """Operations of a pass over ``tokens`` tokens, each after ``context`` others; a multiply-add is two."""
        return 2 * tokens * (self.active_parameters + self.attention_width * self.keys(context))


def _kind(name: str, parameter: Any, inputs: Any, outputs: Any) -> str:
    if parameter is outputs:
        return "head"
    if parameter is inputs:
        return "table"
    # Shared experts see every token; a router ("gate", "router") is dense too, and stands outside ".experts".
    return "experts" if ".experts." in name else "dense"


def _first(config: Any, *names: str) -> int:
    return next((int(value) for name in names if (value := getattr(config, name, None))), 0)


def _windows(config: Any) -> tuple[int | None, ...]:
    """Transformers' rule: a window holds where the layer type says so, or for all layers where there are no types."""
    window = getattr(config, "sliding_window", None)
    types = getattr(config, "layer_types", None) or ["sliding_attention"] * config.num_hidden_layers
    return tuple(int(window) if window and kind == "sliding_attention" else None for kind in types)


def _head_dim(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _cache_width(config: Any) -> int:
    if rank := getattr(config, "kv_lora_rank", None):  # multi-head latent attention keeps one compressed vector
        return int(rank + config.qk_rope_head_dim)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return 2 * int(heads) * _head_dim(config)


def _attention_width(config: Any) -> int:
    if getattr(config, "kv_lora_rank", None):
        return int(config.num_attention_heads * (config.qk_nope_head_dim + config.qk_rope_head_dim + config.v_head_dim))
    return int(config.num_attention_heads) * 2 * _head_dim(config)
