"""The attention function that laconic gives to Transformers models.

Transformers hands it each layer's queries and the slot pool's keys and values. The mask of the pass (who sees whom
in a ragged batch of token trees) comes with the pass itself, as the keyword ``slot_pass``; a layer's sliding window,
soft cap and attention sinks come as Transformers passes them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from laconic.models.native.bf16 import Kernels, kernels_for
from laconic.models.past import Attention
from laconic.models.slot_pass import SlotPass
from laconic.models.units import InUnits

NAME = "laconic"
_FOLD_UP_TO = 64
"""Nodes up to which query heads are folded; the mask grows by the number of heads in a group."""


def slot_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    slot_pass: SlotPass | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend ``query [rows, heads, nodes, dim]`` to ``key``/``value [rows, kv_heads, positions, dim]``.

    Returns ``[rows, nodes, heads, dim]``. ``attention_mask`` is a placeholder; see the module's docstring.
    """
    if slot_pass is None:
        raise RuntimeError("slot attention was called outside a pass of a SlotPool")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    slot_pass.note(query.transpose(1, 2).flatten(0, 1), Attention(scale, sliding_window))
    if softcap is None and s_aux is None:
        query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
        return attend(query, key, value, slot_pass, sliding_window, scaling), None
    if slot_pass.pasts:
        query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
        written_out = partial(_written_out, scaling=scaling, softcap=softcap, sinks=s_aux)
        return row_by_row(query, key, value, slot_pass, sliding_window, written_out), None
    mask = slot_pass.mask_for(sliding_window)
    return _written_out(query, key, value, mask, scaling, softcap, s_aux), None


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    now: SlotPass,
    window: int | None,
    scaling: float | None,
) -> torch.Tensor:
    """Scaled dot-product attention under a pass's mask.

    ``query [rows, nodes, heads, dim]``, ``key`` and ``value [rows, positions, kv_heads, dim]``; returns ``[rows, nodes,
    heads, dim]``.

    In short passes the query heads that share a key head are laid side by side along the node axis, where they are
    one product with its keys: on a CPU that is two to eight times as fast as the kernel's own grouping. In bfloat16
    on a CPU the project's own kernel does the whole, where it can be had (``native``).
    """
    native = kernels_for(query)
    dim = query.shape[-1]
    if native is not None and dim == value.shape[-1] and dim % 2 == 0:
        scale = dim**-0.5 if scaling is None else scaling
        if now.pasts:
            return row_by_row(query, key, value, now, window, partial(_native, native, scale=scale))
        return native.attention(query, key, value, now.mask_for(window), scale)
    if now.pasts:
        return row_by_row(query, key, value, now, window, partial(_fused, scaling=scaling))
    query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    rows, heads, nodes, dim = query.shape
    kv_heads = key.shape[1]
    groups = heads // kv_heads
    if groups == 1 or nodes > _FOLD_UP_TO:
        out = F.scaled_dot_product_attention(
            query, key, value, attn_mask=now.mask_for(window), scale=scaling, enable_gqa=groups > 1
        )
        return out.transpose(1, 2).contiguous()
    folded = query.reshape(rows, kv_heads, groups * nodes, dim)
    mask = now.folded_mask_for(window, groups, query.dtype)
    out = F.scaled_dot_product_attention(folded, key, value, attn_mask=mask, scale=scaling)
    return out.view(rows, heads, nodes, value.shape[-1]).transpose(1, 2).contiguous()


def row_by_row(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    now: SlotPass,
    window: int | None,
    one: Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """As :func:`attend`, where texts begin with what is left of them (``models.past``): a row after the other.

    ``one`` attends ``query [1, heads, nodes, dim]`` to keys and values ``[1, kv_heads, n, dim]`` under a mask
    ``[1, 1 or heads, nodes, n]`` and returns ``[1, nodes, heads, dim]``. Keys and values are put together in every
    pass, also where each head reads some of them only: that spares nothing here.
    """
    rows, nodes = query.shape[:2]
    mask, made = now.mask_for(window), []
    for row in range(rows):
        own = torch.ones(1, nodes, key.shape[1], dtype=torch.bool, device=key.device) if mask is None else mask[row]
        k, v, kept = key[row], value[row], now.before(row)
        if kept is not None:
            before = now.past_mask_for(window, row)
            if before is None:
                before = torch.ones(nodes, kept.count, dtype=torch.bool, device=key.device)
            before = before[None]
            if isinstance(kept, InUnits) and (read := kept.read(query[row])) is not None:
                before, own = read, own.expand(len(read), -1, -1)
            k, v = (torch.cat(pair) for pair in zip(kept.dense(), (k, v), strict=True))
            own = torch.cat([before, own], -1)
        q, k, v = (x.transpose(0, 1)[None] for x in (query[row], k, v))
        made.append(one(q, k, v, own[None]))
    return torch.cat(made)


def _native(
    native: Kernels, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, *, scale: float
) -> torch.Tensor:
    heads, kv_heads = query.shape[1], key.shape[1]
    if mask.shape[1] == 1:
        return native.attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), mask, scale)
    groups = heads // kv_heads  # those that share a key head see the same of it
    made = []
    for head in range(kv_heads):
        q, own = query[:, head * groups : (head + 1) * groups], slice(head, head + 1)
        k, v = (x[:, own].transpose(1, 2).contiguous() for x in (key, value))
        made.append(native.attention(q.transpose(1, 2), k, v, mask[:, head * groups : head * groups + 1], scale))
    return torch.cat(made, 2)


def _fused(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    grouped = query.shape[1] > key.shape[1]
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling, enable_gqa=grouped)
    return out.transpose(1, 2).contiguous()


def _written_out(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """Attention step by step, for what the fused kernel cannot do: soft caps (Gemma 2) and sinks (gpt-oss)."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.transpose(-1, -2) * (scaling if scaling is not None else query.shape[-1] ** -0.5)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    if sinks is not None:
        # A sink is one more column that takes probability and gives nothing.
        column = sinks.reshape(1, -1, 1, 1).expand(scores.shape[0], -1, scores.shape[2], 1).to(scores.dtype)
        scores = torch.cat([scores, column], dim=-1)
    weights = scores.float().softmax(-1).to(query.dtype)[..., : key.shape[2]]
    return (weights @ value).transpose(1, 2).contiguous()


def install() -> None:
    """Make the function known to Transformers under :data:`NAME`. Idempotent; changes no existing entry."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, slot_attention)
