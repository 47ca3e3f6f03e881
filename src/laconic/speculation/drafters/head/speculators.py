"""EAGLE-3 heads as others write them: the ``speculators`` format, and the layout that the authors publish.

Both hold one ``config.json`` and weights in ``model.safetensors``. Sizes are those of a Llama-like layer; ``d2t`` maps
the tokens that the head can say to the target's, as distances. Layers are counted there by what they are given, so
layer ``i`` there is what layer ``i - 1`` puts out here.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from laconic.errors import HeadError
from laconic.speculation.drafters.head.contract import About, DraftHead, Shape
from laconic.speculation.drafters.head.eagle3 import Eagle3

_FLAGS = ("norm_before_residual", "norm_before_fc", "fc_norm", "norm_output")
_HINT = "laconic runs EAGLE-3 heads of one Llama-like layer, in safetensors."


def checkpoint(folder: Path) -> tuple[DraftHead, About]:
    """The head in ``folder``. Raises HeadError for what is no EAGLE-3 head, or one that would not run right here."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        weights = load_file(folder / "model.safetensors")
    except OSError as error:
        raise HeadError(f"no draft head at '{folder}': {error.strerror or error}.", _HINT) from error
    except (ValueError, SafetensorError) as error:
        raise HeadError(f"the draft head at '{folder}' is damaged: {str(error).splitlines()[0]}", _HINT) from error
    if not isinstance(config, dict):
        raise HeadError(f"the config.json of the draft head at '{folder}' is no object.", _HINT)
    kind = config.get("speculators_model_type")
    if kind not in ("eagle3", None) or (kind is None and "draft_vocab_size" not in config):
        raise HeadError(f"'{folder}' is no EAGLE-3 head, but {kind or config.get('model_type')!r}.", _HINT)
    layer = config.get("transformer_layer_config", config)
    try:
        shape, knobs = _shape(config, layer), {flag: True for flag in _FLAGS if config.get(flag)}
        head = Eagle3(shape, **knobs)
        _fill(head, weights, layer)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise HeadError(f"the draft head at '{folder}' is damaged: {str(error).splitlines()[0]}", _HINT) from error
    head = head.eval().requires_grad_(False)
    return head, About("eagle3", "", asdict(shape), knobs, training={"format": "speculators" if kind else "eagle"})


def _shape(config: dict[str, Any], layer: dict[str, Any]) -> Shape:
    width, heads = int(layer["hidden_size"]), int(layer["num_attention_heads"])
    refuse = {
        "num_hidden_layers": int(layer.get("num_hidden_layers", 1)) != 1,
        "attention_bias": bool(layer.get("attention_bias")),
        "mlp_bias": bool(layer.get("mlp_bias")),
        "hidden_act": layer.get("hidden_act", "silu") != "silu",
        "embed_requires_grad": bool(config.get("embed_requires_grad")),
        "target_hidden_size": int(config.get("target_hidden_size") or width) != width,
        "sliding_window": "sliding_attention" in (layer.get("layer_types") or ()),
    }
    odd = next((name for name, wrong in refuse.items() if wrong), None)
    rope = layer.get("rope_parameters") or layer.get("rope_scaling") or {}
    if odd is None and rope.get("rope_type", "default") != "default":
        odd = "rope_type"
    if odd is not None:
        raise HeadError(f"an EAGLE-3 head with this '{odd}' is not supported.", _HINT)
    ids = config.get("eagle_aux_hidden_state_layer_ids")
    if not ids:
        raise HeadError(
            "the head's config.json does not say which layers it reads.",
            "Write them into it: eagle_aux_hidden_state_layer_ids, mostly [2, n / 2, n - 3] for a target of n layers.",
        )
    if min(ids) < 1:
        raise HeadError(
            "an EAGLE-3 head that reads the target's embeddings (what its first layer is given) is not supported.",
            _HINT,
        )
    return Shape(
        width=width,
        layers=tuple(int(i) - 1 for i in ids),
        vocab=int(layer["vocab_size"]),
        kept=int(config.get("draft_vocab_size") or layer["vocab_size"]),
        heads=heads,
        kv_heads=int(layer.get("num_key_value_heads") or heads),
        head_dim=int(layer.get("head_dim") or width // heads),
        inner=int(layer["intermediate_size"]),
        theta=float(rope.get("rope_theta") or layer.get("rope_theta") or 10_000.0),
        eps=float(layer.get("rms_norm_eps", 1e-6)),
    )


def _fill(head: Eagle3, weights: dict[str, Tensor], layer: dict[str, Any]) -> None:
    """Put a checkpoint's weights into a head. Raises RuntimeError naming what is missing."""
    found = {name.replace("midlayer.", "layers.0."): weight for name, weight in weights.items()}
    found.setdefault("d2t", torch.zeros(head.shape.kept, dtype=torch.int64))
    mine = head.state_dict()
    if any(".q_norm." in name for name in found):
        raise HeadError("an EAGLE-3 head with norms of queries and keys is not supported.", _HINT)
    head.load_state_dict({name: found[name] for name in mine if name in found})
    if int(head.kept.max()) >= int(layer["vocab_size"]) or bool((head.kept.diff() <= 0).any()):
        raise ValueError("its map of tokens (d2t) leads nowhere.")
