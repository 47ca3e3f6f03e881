"""The Llama family's forward pass in few operations.

A decoding pass over a small model, or a draft model, is mostly the launching of small operations: Transformers writes
a layer with some eighty of them. Here the projections of a layer are joined, norms are one kernel, and rotary angles
come from a table, which leaves about thirty. It reads the very weights of the Transformers model (joined projections
become views of one tensor) and is used only where it has reproduced the original's logits when the model was loaded;
everything else takes the original path. In bfloat16 on a CPU it then takes the weights over, reordered (``packed.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from laconic.models.attention import attend
from laconic.models.native.bf16 import kernels_for
from laconic.models.native.stack import LayerWeights, NativeStack
from laconic.models.packed import NativeProjection, PlainProjection, Projection
from laconic.models.partial import WHOLE, LayerPlan
from laconic.models.past import Attention
from laconic.models.slot_pass import SlotPass
from laconic.models.slots import SlotPool
from laconic.models.steering import NOWHERE, Touches

FAMILY = {"llama", "mistral", "qwen2", "qwen3"}
"""Model types known to have this structure. A trial alone could miss what only large values show (soft caps)."""

STATIC_ROPE = {"default", "linear", "llama3", "yarn"}
"""Kinds of rotary embedding whose angles depend on the position alone."""


class Norm:
    """Root-mean-square norm over the last dimension, with weights ``[..., dim]``.

    On a CPU PyTorch makes eight operations of it; there it is a kernel of the project's own, or else a length, a
    quotient and a product, summed in float32.
    """

    def __init__(self, weight: Tensor, eps: float) -> None:
        self.weight, self.eps, self.dim = weight, eps, weight.shape[-1]
        self.by_length = weight.device.type == "cpu" and weight.dtype != torch.float64
        self.native = kernels_for(weight) if weight.dim() == 1 else None
        if self.native is not None:
            self.gain = weight.float().contiguous()
        elif self.by_length:
            self.gain = weight.float() * self.dim**0.5
            self.floor = torch.tensor((self.dim * eps) ** 0.5)

    def __call__(self, x: Tensor) -> Tensor:
        """``[..., dim]``, of the type of ``x``."""
        if self.native is not None:
            return self.native.rms_norm(x, self.gain, self.eps)
        if not self.by_length:
            if self.weight.dim() == 1:
                return F.rms_norm(x, (self.dim,), self.weight, self.eps)  # one kernel
            return F.rms_norm(x, (self.dim,), None, self.eps) * self.weight
        length = torch.hypot(torch.linalg.vector_norm(x, 2, -1, True, dtype=torch.float32), self.floor)
        return torch.mul(x, self.gain / length, out=torch.empty_like(x))


@dataclass(slots=True)
class _Layer:
    norm_in: Norm
    norm_mid: Norm
    qkv: Projection
    head_norm: Norm | None
    """Of queries and keys, its weights ``[heads + kv_heads, head_dim]``."""
    head_gain: Tensor | None
    """These weights in float32."""
    out: Projection
    gate_up: Projection
    """``[2 * intermediate, in]``, gate first."""
    down: Projection
    act: Any
    silu: bool
    """Whether ``act`` is x * sigmoid(x)."""
    window: int | None


class FastDecoder:
    """Scores passes of a SlotPool; build it where :func:`suits` says so."""

    def __init__(self, model: Any) -> None:
        base = model.model
        attention = base.layers[0].self_attn
        self.head_dim = int(attention.head_dim)
        self.kv_heads = attention.k_proj.weight.shape[0] // self.head_dim
        self.heads = attention.q_proj.weight.shape[0] // self.head_dim
        self.scaling = float(attention.scaling)
        self.eps = _eps(base.norm)
        self.head_eps = _eps(attention.q_norm) if hasattr(attention, "q_norm") else 0.0
        self.embedding = base.embed_tokens.weight
        self.norm = Norm(base.norm.weight, self.eps)
        self.head: Projection = PlainProjection(model.lm_head.weight, model.lm_head.bias)
        self.packed = False
        self.native = kernels_for(self.embedding)
        self.layers = [self._layer(layer) for layer in base.layers]
        self.stack: NativeStack | None = None
        """All layers in one call, once they are packed for the project's own kernels."""
        self._rotary = base.rotary_emb
        self._cos = self._sin = self.embedding.new_empty(0)

    def _layer(self, layer: Any) -> _Layer:
        a, mlp = layer.self_attn, layer.mlp
        projections = [a.q_proj, a.k_proj, a.v_proj]
        bias = None if a.q_proj.bias is None else torch.cat([p.bias for p in projections])
        gain = norm = None
        if hasattr(a, "q_norm"):
            gain = torch.cat([a.q_norm.weight.expand(self.heads, -1), a.k_norm.weight.expand(self.kv_heads, -1)])
            norm = Norm(gain, self.head_eps)
        return _Layer(
            Norm(layer.input_layernorm.weight, self.eps),
            Norm(layer.post_attention_layernorm.weight, self.eps),
            PlainProjection(_join(projections), bias),
            norm,
            None if gain is None else gain.float(),
            PlainProjection(a.o_proj.weight, a.o_proj.bias),
            PlainProjection(_join([mlp.gate_proj, mlp.up_proj])),
            PlainProjection(mlp.down_proj.weight),
            mlp.act_fn,
            type(mlp.act_fn).__name__ in ("SiLU", "SiLUActivation"),  # PyTorch's, or Transformers' own
            # Qwen decides by layer, Mistral for all layers at once.
            a.sliding_window if hasattr(a, "sliding_window") else getattr(a.config, "sliding_window", None),
        )

    def __call__(
        self, pool: SlotPool, *, logits: bool, after: Touches = NOWHERE, plan: LayerPlan = WHOLE
    ) -> tuple[Tensor, Tensor] | None:
        """The pass that ``pool.begin`` has prepared: logits ``[nodes, vocab]`` and the hidden states they are made of.

        The latter are ``[nodes, hidden]``, after the last norm; None in place of both where logits are not asked for.
        ``after[l]`` has its way with what layer l puts out, ``[nodes, hidden]``. What ``plan`` leaves out of the layers
        is left out; keys and values are written by those whose attention runs.

        Rows of different lengths are padded for attention alone; everything else sees the real nodes only.
        """
        now, real = pool.current, pool.current.real
        dim = self.head_dim
        tokens, positions, places = now.tokens.to(pool.device).flatten(), now.positions.flatten(), pool.places
        if real is not None:
            tokens, positions, places = tokens[real], positions[real], places[real]
        angles = self._angles(positions, now.end)
        x = F.embedding(tokens, self.embedding)
        if self.stack is not None:
            self._in_one(self.stack, pool, x, angles, places, after, plan)
            return self._logits(x) if logits else None
        for index, (layer, cache) in enumerate(zip(self.layers, pool.layers, strict=True)):
            now.layer = index
            if index not in plan.attention:
                x = x + self._attended(layer, x, angles, places, cache.buffers_for(self.kv_heads, dim, x), now)
            if index not in plan.mlp:
                x = x + layer.down(self._gated(layer, layer.gate_up(layer.norm_mid(x))))
            if index in after:
                x = after[index](x)
        return self._logits(x) if logits else None

    def _attended(
        self,
        layer: _Layer,
        x: Tensor,
        angles: tuple[Tensor, Tensor],
        places: Tensor,
        cache: tuple[Tensor, Tensor],
        now: SlotPass,
    ) -> Tensor:
        """What a layer's attention adds to ``x [nodes, hidden]``; the ``cache`` gets its keys and values."""
        rows, width, real = now.rows, now.width, now.real
        heads, dim, (keys, values) = self.heads, self.head_dim, cache
        seen = slice(now.lo, now.lo + rows)
        h = layer.qkv(layer.norm_in(x)).view(len(x), heads + 2 * self.kv_heads, dim)
        queries = self._heads(layer, h, angles, places, keys, values)
        now.note(queries, Attention(self.scaling, layer.window))
        if real is not None:
            queries = x.new_zeros(rows * width, heads, dim).index_copy_(0, real, queries)
        attended = attend(
            queries.view(rows, width, heads, dim),
            keys[seen, : now.keys],
            values[seen, : now.keys],
            now,
            layer.window,
            self.scaling,
        )
        attended = attended.view(rows * width, heads * dim)
        return layer.out(attended if real is None else attended[real])

    def _in_one(
        self,
        stack: NativeStack,
        pool: SlotPool,
        x: Tensor,
        angles: tuple[Tensor, Tensor],
        places: Tensor,
        after: Touches,
        plan: LayerPlan,
    ) -> None:
        """Put ``x`` through the layers in place, in one call, or in one for each stretch between touches."""
        begun = 0
        for index in sorted(after):
            stack(pool, x, angles, places, first=begun, last=index + 1, plan=plan)
            touched = after[index](x)
            if touched is not x:
                x.copy_(touched)
            begun = index + 1
        if begun < len(self.layers):
            stack(pool, x, angles, places, first=begun, plan=plan)

    def _logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.norm(x)
        return self.head(hidden), hidden

    def _heads(
        self, layer: _Layer, h: Tensor, angles: tuple[Tensor, Tensor], places: Tensor, keys: Tensor, values: Tensor
    ) -> Tensor:
        """Queries ``[nodes, heads, dim]`` of ``h [nodes, heads + 2 kv_heads, dim]``; keys and values are written."""
        norm, dim, both = layer.head_norm, self.head_dim, self.heads + self.kv_heads
        if self.native is not None and dim % 32 == 0:
            return self.native.heads(h, layer.head_gain, self.head_eps, angles, places, keys, values)
        qk = h[:, :both] if norm is None else norm(h[:, :both])
        cos, sin = angles
        qk = torch.addcmul(qk * cos, qk.roll(dim // 2, -1), sin)
        keys.view(-1, self.kv_heads, dim).index_copy_(0, places, qk[:, self.heads :])
        values.view(-1, self.kv_heads, dim).index_copy_(0, places, h[:, both:])
        return qk[:, : self.heads]

    def _gated(self, layer: _Layer, x: Tensor) -> Tensor:
        """The gate's activation times the rest, ``[nodes, intermediate]``."""
        if self.native is not None and layer.silu:
            return self.native.swiglu(x)
        gate, up = x.chunk(2, -1)
        return layer.act(gate) * up  # type: ignore[no-any-return]

    def pack(self, model: Any) -> None:
        """Take over the weights of ``model``, reordered for this CPU. Its own projections are emptied as it goes."""
        for layer, source in zip(self.layers, model.model.layers, strict=True):
            a, mlp = source.self_attn, source.mlp
            layer.qkv, layer.out = layer.qkv.packed(), layer.out.packed()
            layer.gate_up, layer.down = layer.gate_up.packed(), layer.down.packed()
            for linear in (a.q_proj, a.k_proj, a.v_proj, a.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj):
                linear.weight.data = linear.weight.data.new_empty(0)
        self.head = self.head.packed()
        if model.lm_head.weight.data_ptr() != self.embedding.data_ptr():
            model.lm_head.weight.data = model.lm_head.weight.data.new_empty(0)
        self.packed = True
        parts = [_native(layer) for layer in self.layers]
        if self.native is not None and self.head_dim % 32 == 0 and all(part is not None for part in parts):
            sizes = self.heads, self.kv_heads, self.head_dim
            weights = [part for part in parts if part is not None]
            self.stack = NativeStack(self.native, weights, sizes, self.scaling, (self.eps, self.head_eps))

    def _angles(self, positions: Tensor, end: int) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines ``[nodes, 1, head_dim]``.

        The rotated half (-x2, x1) is x rolled by half its size, its first half negated; the sign sits in the table.
        """
        if end > len(self._cos):
            size = max(2 * len(self._cos), end, 512)
            cos, sin = self._rotary(self.embedding, torch.arange(size, device=self.embedding.device)[None])
            half = self.head_dim // 2
            self._cos, self._sin = cos[0], torch.cat([-sin[0, :, :half], sin[0, :, half:]], dim=-1)
        return self._cos[positions][:, None], self._sin[positions][:, None]


def _native(layer: _Layer) -> LayerWeights | None:
    """A layer as the project's own kernels take it whole; None where a part of it is not theirs."""
    qkv, out, gate_up, down = layer.qkv, layer.out, layer.gate_up, layer.down
    if not layer.silu or layer.norm_in.native is None:
        return None
    if not isinstance(qkv, NativeProjection) or not isinstance(out, NativeProjection):
        return None
    if not isinstance(gate_up, NativeProjection) or not isinstance(down, NativeProjection):
        return None
    return LayerWeights(
        layer.norm_in.gain,
        layer.norm_mid.gain,
        layer.head_gain,
        qkv.weight,
        qkv.bias,
        out.weight,
        out.bias,
        gate_up.weight,
        down.weight,
        layer.window,
    )


def suits(model: Any) -> bool:
    """Whether ``model`` is built as the Llama family is.

    The caller must still compare logits before using the pass: a checkpoint's own code or hooks may differ.
    """
    if model.config.model_type not in FAMILY:
        return False
    rope = getattr(model.config, "rope_parameters", None) or {}
    if rope.get("rope_type", "default") not in STATIC_ROPE or rope.get("partial_rotary_factor", 1.0) != 1.0:
        return False
    return len({p.dtype for p in model.parameters()}) == 1


def _eps(norm: Any) -> float:
    return float(norm.variance_epsilon if hasattr(norm, "variance_epsilon") else norm.eps)


def _join(linears: list[Any]) -> Tensor:
    """One weight for several projections of the same input; theirs become views of it, so no memory is doubled."""
    joined = torch.cat([linear.weight.data for linear in linears])
    start = 0
    for linear in linears:
        stop = start + linear.weight.shape[0]
        linear.weight.data = joined[start:stop]
        start = stop
    return joined
