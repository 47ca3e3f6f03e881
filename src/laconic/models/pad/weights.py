"""The padded tensors: where the source's numbers go, what is corrected, and what is zero.

Let w be the source's width, W the padded one, r = w / W. The residual stream keeps its first w dimensions; the others
are zero everywhere, because nothing ever writes to them. What has to be put right:

* **Norms.** Over W dimensions of which w are not zero, the mean square is r times the right one, so an RMS norm
  (Zhang & Sennrich, 2019, eq. 4) gives sqrt(1 / r) times too much. Gains times sqrt(r) and epsilon times r undo it
  exactly: x / sqrt(r m + r e) * sqrt(r) = x / sqrt(m + e).
* **Norms per head** (Qwen3) see the same head dimension as before, but share the config's epsilon, now times r. Queries
  and keys times sqrt(r) before their norm make it vanish again: sqrt(r) q / sqrt(r m + r e) = q / sqrt(m + e).
* **Heads.** Query head h reads key-value head h // group. The group may have grown, so each old group moves to the
  start of its new one. New heads have zero weights on every side.

If W / w is a power of four, sqrt(r) is a power of two, and the corrections change exponents only: no rounding in any
floating-point format. Identity layers repeat a source layer, so that all their work is done, and add nothing: what
writes to the residual stream (o_proj, down_proj) is zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from laconic.errors import UnsupportedModel
from laconic.models.pad.shape import Shape

_WRITERS = ("self_attn.o_proj", "mlp.down_proj")
"""What adds to the residual stream, and must add nothing in an identity layer."""


def padded(source: Mapping[str, Tensor], old: Shape, new: Shape, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor of everything in the padded checkpoint, in order; ``source`` is a model's state dict.

    One tensor exists at a time. Raises UnsupportedModel for a tensor that does not belong to the architecture.
    """
    prefix = "model.layers."
    layers: list[dict[str, Tensor]] = [{} for _ in range(old.layers)]
    for name, tensor in source.items():
        if name.startswith(prefix):
            layer, _, part = name.removeprefix(prefix).partition(".")
            layers[int(layer)][part] = tensor
        elif name == "lm_head.weight" and old.tied:
            continue  # the embedding once more
        else:
            yield name, _widen(name, tensor, old, new, dtype)
    for number in range(new.layers):
        for part, tensor in layers[number % old.layers].items():
            wide = _widen(part, tensor, old, new, dtype)
            if number >= old.layers and part.startswith(_WRITERS):
                wide.zero_()
            yield f"{prefix}{number}.{part}", wide


def _widen(name: str, tensor: Tensor, old: Shape, new: Shape, dtype: torch.dtype) -> Tensor:
    """One tensor in its new size and dtype. Rounding to ``dtype`` comes first, as in a source of that dtype."""
    module, _, kind = name.rpartition(".")
    leaf = module.rpartition(".")[2]
    sides = _sides(leaf, old, new)
    if sides is None or kind not in ("weight", "bias"):
        raise UnsupportedModel(f"the checkpoint has a tensor that cannot be padded: '{name}'.")
    tensor = tensor.to(dtype)
    scale = math.sqrt(old.width / new.width)
    if leaf in ("input_layernorm", "post_attention_layernorm", "norm") or (
        old.head_norms and leaf in ("q_proj", "k_proj")
    ):
        tensor = tensor * scale
    # A subnormal number slows some processors' arithmetic a hundredfold, which would be taken for the model's cost.
    tensor = tensor.masked_fill(tensor.abs() < torch.finfo(dtype).tiny, 0)
    for axis, side in enumerate(sides[: tensor.ndim]):
        tensor = _spread(tensor, axis, *side)
    return tensor.contiguous()


def _sides(leaf: str, old: Shape, new: Shape) -> tuple[tuple[Tensor, int], ...] | None:
    """Per axis of a weight, the new place of each old index and the new size; None for a name that is not known.

    A bias has only the first axis of its weight.
    """
    stream = torch.arange(old.width), new.width
    inner = torch.arange(old.mlp), new.mlp
    head = torch.arange(old.head_dim), old.head_dim
    values = torch.arange(old.kv_heads * old.head_dim), new.kv_heads * new.head_dim
    queries = _query_places(old, new), new.heads * new.head_dim
    words = torch.arange(old.vocab), old.vocab
    return {
        "embed_tokens": (words, stream),
        "lm_head": (words, stream),
        "norm": (stream,),
        "input_layernorm": (stream,),
        "post_attention_layernorm": (stream,),
        "q_norm": (head,),
        "k_norm": (head,),
        "q_proj": (queries, stream),
        "k_proj": (values, stream),
        "v_proj": (values, stream),
        "o_proj": (stream, queries),
        "gate_proj": (inner, stream),
        "up_proj": (inner, stream),
        "down_proj": (stream, inner),
    }.get(leaf)


def _query_places(old: Shape, new: Shape) -> Tensor:
    """Where each row of the old queries goes, so that its head keeps its key-value head; ``[heads * head_dim]``."""
    group, wider = old.heads // old.kv_heads, new.heads // new.kv_heads
    heads = torch.arange(old.heads)
    places = heads // group * wider + heads % group
    return (places[:, None] * old.head_dim + torch.arange(old.head_dim)).flatten()


def _spread(tensor: Tensor, axis: int, places: Tensor, size: int) -> Tensor:
    """``tensor`` with ``axis`` grown to ``size``: old entries at ``places``, zeros elsewhere."""
    if size == len(places):
        return tensor
    shape = list(tensor.shape)
    shape[axis] = size
    return tensor.new_zeros(shape).index_copy_(axis, places, tensor)
