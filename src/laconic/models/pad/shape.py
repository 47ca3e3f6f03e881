"""The size of a Llama-like model in numbers, its parameter count, and which larger shape to pad it to."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from laconic.errors import RequestError, UnsupportedModel

FAMILY = ("llama", "mistral", "qwen2", "qwen3")
"""Model types that can be padded: one residual stream, RMS norms, rotary attention, a gated MLP."""

TOLERANCE = 0.03
"""How far the parameter count may be from the one requested, as a share of it."""

_MLP_RATIO = 3.0  # MLP width over model width: Qwen3-0.6B and 1.7B have 3, Llama 2.7 to 4, Qwen2.5-0.5B 5.4
_DEPTH = 28  # layers: models of 0.5 to 8 billion parameters have 16 to 36
_KV_HEADS = 8  # key-value heads: most published models have 2 to 8
_INEXACT = 1.0  # in the score below, what a width with rounding counts for: as much as a depth of 76 layers


@dataclass(frozen=True, slots=True)
class Shape:
    """Everything that the parameter count of a Llama-like checkpoint depends on.

    ``biases`` are those of attention, as ``q``, ``k``, ``v``, ``o``, and of the MLP, ``gate``, ``up``, ``down``;
    ``head_norms`` says whether queries and keys are normed per head (Qwen3).
    """

    width: int
    layers: int
    mlp: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool
    head_norms: bool = False
    biases: frozenset[str] = frozenset()

    @staticmethod
    def of(config: Any) -> Shape:
        """Read a Transformers config. Raises UnsupportedModel, by name, for other architectures."""
        kind = config.model_type
        if kind not in FAMILY:
            raise UnsupportedModel(f"a '{kind}' model cannot be padded.", f"Known: {', '.join(FAMILY)}.")
        if getattr(config, "quantization_config", None) is not None:
            raise UnsupportedModel("a quantised checkpoint cannot be padded.", "Give the original weights.")
        attention, mlp = bool(getattr(config, "attention_bias", False)), bool(getattr(config, "mlp_bias", False))
        biases = set("qkvo") if attention else set("qkv") if kind == "qwen2" else set()
        return Shape(
            width=config.hidden_size,
            layers=config.num_hidden_layers,
            mlp=config.intermediate_size,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads or config.num_attention_heads,
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
            vocab=config.vocab_size,
            tied=bool(config.tie_word_embeddings),
            head_norms=kind == "qwen3",
            biases=frozenset(biases | ({"gate", "up", "down"} if mlp else set())),
        )

    @property
    def parameters(self) -> int:
        """Parameters as stored: a tied embedding counts once."""
        return self.vocab * self.width * (1 if self.tied else 2) + self.width + self.layers * self.layer_parameters

    @property
    def layer_parameters(self) -> int:
        """Parameters of one layer."""
        rows = {"q": self.heads, "k": self.kv_heads, "v": self.kv_heads}
        sizes = {name: count * self.head_dim for name, count in rows.items()}
        sizes |= {"o": self.width, "gate": self.mlp, "up": self.mlp, "down": self.width}
        attention = (2 * self.heads + 2 * self.kv_heads) * self.head_dim * self.width
        norms = 2 * self.width + (2 * self.head_dim if self.head_norms else 0)
        return attention + 3 * self.mlp * self.width + norms + sum(sizes[name] for name in self.biases)


def is_power_of_four(ratio: int) -> bool:
    """Whether norm gains for this width ratio are corrected without any rounding."""
    return ratio > 0 and ratio & (ratio - 1) == 0 and ratio.bit_length() % 2 == 1


def parse_size(text: str | int) -> int:
    """A parameter count: a number, or one with K, M or B. Raises RequestError.

    >>> parse_size("0.3B"), parse_size("25m"), parse_size("1_500_000")
    (300000000, 25000000, 1500000)
    """
    match = re.fullmatch(r"\s*(\d[\d_]*(?:\.\d+)?)\s*([kmb]?)\s*", str(text).lower())
    size = round(float(match[1]) * {"": 1, "k": 1e3, "m": 1e6, "b": 1e9}[match[2]]) if match else 0
    if size < 1:
        raise RequestError(f"'{text}' is not a number of parameters.", "Say it like 0.3B, 25M or 300000000.")
    return size


def plan(source: Shape, parameters: int, *, rounding: bool = False) -> Shape:
    """The most ordinary-looking shape of about ``parameters`` parameters that ``source`` can be padded to.

    Widths are multiples of the source's, so that heads grow with the width: powers of four, whose norms stay exact in
    any format, or with ``rounding`` any multiple. Among these, the shape whose MLP ratio and depth are nearest to
    those of published models wins. Raises RequestError if the target is smaller than the source, or no shape comes
    within 3 %.
    """
    if parameters < source.parameters:
        raise RequestError(
            f"the source has {source.parameters:,} parameters already, more than the {parameters:,} asked for.",
            "Padding only adds; ask for more.",
        )
    shapes = [shape for shape in _candidates(source, parameters, rounding) if _off(shape, parameters) <= TOLERANCE]
    if not shapes:
        raise RequestError(
            f"no shape of about {parameters:,} parameters contains this source.",
            f"Its width is {source.width}, its depth {source.layers}; ask for clearly more.",
        )
    return min(shapes, key=lambda shape: (_oddness(source, shape), _off(shape, parameters)))


def _candidates(source: Shape, parameters: int, rounding: bool) -> Iterator[Shape]:
    """For every width and depth, the MLP that makes up the difference in parameters."""
    ratio = 1
    while replace(source, width=source.width * ratio).parameters <= parameters * (1 + TOLERANCE):
        if rounding or is_power_of_four(ratio):
            wide = replace(source, width=source.width * ratio, heads=source.heads * ratio)
            wide = replace(wide, kv_heads=_kv_heads(source, wide.heads))
            for layers in range(source.layers, 4 * max(source.layers, _DEPTH)):
                deep = replace(wide, layers=layers)
                slope = replace(deep, mlp=source.mlp + 1).parameters - replace(deep, mlp=source.mlp).parameters
                exact = source.mlp + (parameters - replace(deep, mlp=source.mlp).parameters) / slope
                if exact < source.mlp * (1 - TOLERANCE):
                    break  # deeper is only larger
                yield replace(deep, mlp=_round_number(source.mlp, exact))
        ratio += 1


def _kv_heads(source: Shape, heads: int) -> int:
    """Up to eight key-value heads, as published models have, never fewer than the source's, nor smaller groups."""
    group = source.heads // source.kv_heads
    fit = [k for k in range(source.kv_heads, heads // group + 1) if heads % k == 0]
    few = [k for k in fit if k <= _KV_HEADS]
    return max(few) if few else min(fit)


def _round_number(least: int, exact: float) -> int:
    """An MLP width near ``exact``: a multiple of as large a power of two as costs at most half a percent."""
    for step in (256, 128, 64, 32, 16, 8, 4, 2):
        size = round(exact / step) * step
        if size >= least and abs(size - exact) <= 0.005 * exact:
            return size
    return max(least, round(exact))


def _off(shape: Shape, parameters: int) -> float:
    return abs(shape.parameters / parameters - 1)


def _oddness(source: Shape, shape: Shape) -> float:
    """How unlike published models a shape looks; 0 is the reference's MLP ratio and depth."""
    inexact = 0.0 if is_power_of_four(shape.width // source.width) else _INEXACT
    ratio, depth = shape.mlp / (_MLP_RATIO * shape.width), shape.layers / _DEPTH
    return 2 * math.log(ratio) ** 2 + math.log(depth) ** 2 + inexact
