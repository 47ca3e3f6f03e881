"""One decoder layer over pairs of what is heard of a token and a state: what the heads that attend to the text are made
of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from laconic.models.packed import NativeProjection, PlainProjection, worthwhile
from laconic.speculation.drafters.head.contract import Shape, Span

_FAINT = 0.3
"""What is left of random weights where something is known that is better to begin with."""


class Norm(nn.Module):
    """Root-mean-square norm with a gain."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """``[..., width]``, in the weight's number format: in training, products may be narrower."""
        return F.rms_norm(x.to(self.weight.dtype), (x.shape[-1],), self.weight, self.eps)


class Reordered(nn.Module):
    """A linear layer without bias whose weight lies as the project's kernels read it."""

    def __init__(self, *linears: nn.Linear) -> None:
        super().__init__()
        self._product = PlainProjection(torch.cat([linear.weight.data for linear in linears])).packed()

    def forward(self, x: Tensor) -> Tensor:
        """``[rows, out]``: of several layers, their outputs side by side."""
        return self._product(x)


class Joined(nn.Module):
    """Several linear layers of one input as one, their outputs side by side."""

    def __init__(self, *linears: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.cat([linear.weight.data for linear in linears]), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[rows, out]``."""
        return F.linear(x, self.weight)


def ready(*linears: nn.Linear) -> nn.Module:
    """Linear layers of one input as one module, in the layout that this processor reads best."""
    weight = linears[0].weight
    if worthwhile(weight) and isinstance(PlainProjection(weight[:1]).packed(), NativeProjection):
        return Reordered(*linears)
    return Joined(*linears)


class Attention(nn.Module):
    """Projections of attention whose queries, keys and values are made of ``inputs`` values."""

    def __init__(self, shape: Shape, inputs: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(inputs, shape.heads * shape.head_dim, bias=False)
        self.k_proj = nn.Linear(inputs, shape.kv_heads * shape.head_dim, bias=False)
        self.v_proj = nn.Linear(inputs, shape.kv_heads * shape.head_dim, bias=False)
        self.o_proj = nn.Linear(shape.heads * shape.head_dim, shape.width, bias=False)


class FeedForward(nn.Module):
    """The gated feed-forward part."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.inner, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.inner, bias=False)
        self.down_proj = nn.Linear(shape.inner, shape.width, bias=False)


class TextLayer(nn.Module):
    """A Llama layer along a text of pairs: how what is heard of a token and a state come together is left to
    subclasses.

    ``inputs`` is how many values queries, keys and values are made of. Without ``feed_forward`` attention is all.
    """

    def __init__(self, shape: Shape, inputs: int, *, feed_forward: bool = True) -> None:
        super().__init__()
        self.shape = shape
        self.self_attn = Attention(shape, inputs)
        self.post_attention_layernorm = Norm(shape.width, shape.eps) if feed_forward else None
        self.mlp = FeedForward(shape) if feed_forward else None
        self._laid_out: tuple[nn.Module, ...] = ()
        """Projections of queries, keys and values; of attention's output; of gate and rest; down. Once packed."""
        self._sines: tuple[Tensor, Tensor] | None = None

    def enter(self, heard: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """What attention sees, ``[..., inputs]``, and the residual stream ``[..., width]`` that it adds to."""
        raise NotImplementedError

    def begin(self) -> None:
        """Begin training as a layer that adds nothing: what comes in goes on. Not for layers that were trained."""
        nn.init.zeros_(self.self_attn.o_proj.weight)
        if self.mlp is not None:
            nn.init.zeros_(self.mlp.down_proj.weight)

    def pack(self) -> None:
        """Join the projections of one input; training is over."""
        attention, mlp = self.self_attn, self.mlp
        self._laid_out = ready(attention.q_proj, attention.k_proj, attention.v_proj), ready(attention.o_proj)
        if mlp is not None:
            self._laid_out += ready(mlp.gate_proj, mlp.up_proj), ready(mlp.down_proj)
        del self.self_attn, self.mlp

    def forward(self, heard: Tensor, states: Tensor, spans: Sequence[Span]) -> Tensor:
        """``[rows, width]`` of ``heard`` and ``states [rows, width]``; entries go to the spans' memories."""
        shape, (qkv, out, *rest) = self.shape, self._laid_out
        inputs, states = self.enter(heard, states)
        every = qkv(inputs).view(len(inputs), shape.heads + 2 * shape.kv_heads, shape.head_dim)
        turned, both = shape.heads + shape.kv_heads, every[:, : shape.heads + shape.kv_heads]
        positions = spans[0].positions if len(spans) == 1 else torch.cat([span.positions for span in spans])
        both = self.rotated(both, positions)
        parts = []
        for span in spans:
            keys, values = span.memory.append(
                both[span.begin : span.end, shape.heads :], every[span.begin : span.end, turned:]
            )
            parts.append(self._attend(both[span.begin : span.end, : shape.heads], keys, values, span.seen))
        attended = parts[0] if len(parts) == 1 else torch.cat(parts)
        states = states + out(attended)
        if self.post_attention_layernorm is None:
            return states
        gate_up, down = rest
        gate, up = gate_up(self.post_attention_layernorm(states)).chunk(2, -1)
        made: Tensor = states + down(F.silu(gate) * up)
        return made

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None) -> Tensor:
        """``[rows, heads * head_dim]``; ``seen [rows, entries]`` may be left out for a single row that sees all."""
        rows, heads, dim = queries.shape
        group = heads // keys.shape[1]
        folded = queries.view(rows, -1, group, dim).permute(1, 2, 0, 3).reshape(keys.shape[1], group * rows, dim)
        weights = folded @ keys.permute(1, 2, 0) * dim**-0.5
        if seen is not None:
            weights = (
                weights.view(-1, group, rows, len(keys))
                .masked_fill(~seen.to(weights.device), -torch.inf)
                .view_as(weights)
            )
        out = weights.float().softmax(-1).to(values.dtype) @ values.transpose(0, 1)
        together: Tensor = out.view(-1, group, rows, dim).permute(2, 0, 1, 3).reshape(rows, heads * dim)
        return together

    def rotated(self, x: Tensor, positions: Tensor) -> Tensor:
        """``x [rows, heads, head_dim]`` turned by the angles of its positions ``[rows]``."""
        half = self.shape.head_dim // 2
        most = int(positions.max()) + 1
        if self._sines is None or len(self._sines[0]) < most or self._sines[0].dtype != x.dtype:
            rates = self.shape.theta ** (-torch.arange(half, dtype=torch.float64) / half)
            angles = torch.arange(max(512, 2 * most), dtype=torch.float64)[:, None] * rates
            self._sines = angles.cos().to(x.device, x.dtype), angles.sin().to(x.device, x.dtype)
        cos, sin = (table[positions.to(table.device)][:, None] for table in self._sines)
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def unrolled(self, heard: Tensor, states: Tensor, begun: list[tuple[Tensor, Tensor]], window: int = 0) -> Tensor:
        """For training: the layer at the next step of a draft begun at every place; ``begun`` holds earlier steps'
        entries.

        ``heard`` and ``states [texts, length, width]``. A place sees its text as the first step read it, up to
        itself, and of later steps what was drafted from that same place; of its text the last ``window`` tokens, its
        own and drafted ones included, where that is not 0.
        """
        shape, (texts, length, _) = self.shape, states.shape
        step, attention = len(begun), self.self_attn
        inputs, states = self.enter(heard, states)
        positions = torch.arange(step, step + length)
        queries, keys, values = (
            part(inputs).view(texts * length, -1, shape.head_dim)
            for part in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        places = positions.repeat(texts)
        queries = self.rotated(queries, places).view(texts, length, -1, shape.head_dim).transpose(1, 2)
        keys = self.rotated(keys, places).view(texts, length, -1, shape.head_dim).transpose(1, 2)
        values = values.view(texts, length, -1, shape.head_dim).transpose(1, 2)
        begun.append((keys, values))
        attended = _columns(queries, begun, window).transpose(1, 2).reshape(texts, length, -1)
        states = states + attention.o_proj(attended)
        mlp = self.mlp
        if mlp is None or self.post_attention_layernorm is None:
            return states
        inner = self.post_attention_layernorm(states)
        out: Tensor = states + mlp.down_proj(F.silu(mlp.gate_proj(inner)) * mlp.up_proj(inner))
        return out


class PairLayer(TextLayer):
    """Attention sees what is heard and the state side by side; the state is its residual stream (EAGLE-3).

    Parameters have the names of the checkpoints in the ``speculators`` format. With ``norm_before_residual`` the
    residual stream goes on from the normed state.
    """

    def __init__(self, shape: Shape, *, norm_before_residual: bool = False) -> None:
        super().__init__(shape, 2 * shape.width)
        self.norm_before_residual = norm_before_residual
        self.input_layernorm = Norm(shape.width, shape.eps)
        self.hidden_norm = Norm(shape.width, shape.eps)

    def enter(self, heard: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """Both normed, side by side, and the state."""
        normed = self.hidden_norm(states)
        return torch.cat([self.input_layernorm(heard), normed], -1), normed if self.norm_before_residual else states


class FusedLayer(TextLayer):
    """What is heard and the state, both normed, are joined by one projection, which begins the residual stream.

    So they are in EAGLE (Li et al. 2024) and in DeepSeek-V3's multi-token prediction. A token is heard at once,
    where EAGLE-3's has to come through attention.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape, shape.width)
        self.enorm = Norm(shape.width, shape.eps)
        self.hnorm = Norm(shape.width, shape.eps)
        self.eh_proj = nn.Linear(2 * shape.width, shape.width, bias=False)
        self.input_layernorm = Norm(shape.width, shape.eps)

    def begin(self) -> None:
        """Begin with half of what is heard and half of the state, and a little of everything else."""
        super().begin()
        half = torch.eye(self.shape.width) / 2
        with torch.no_grad():
            self.eh_proj.weight.mul_(_FAINT).add_(torch.cat([half, half], 1))

    def enter(self, heard: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """The joined stream, normed, and as it is."""
        joined = self.eh_proj(torch.cat([self.enorm(heard), self.hnorm(states)], -1))
        return self.input_layernorm(joined), joined


class StateLayer(TextLayer):
    """Attention over states alone, which are its residual stream: nothing is heard of the token after."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape, shape.width)
        self.input_layernorm = Norm(shape.width, shape.eps)

    def enter(self, heard: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """The states, normed, and as they are."""
        return self.input_layernorm(states), states


class AdapterLayer(TextLayer):
    """Attention alone, over what is heard, which is its residual stream too: the adapter of Kangaroo."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape, shape.width, feed_forward=False)
        self.input_layernorm = Norm(shape.width, shape.eps)

    def enter(self, heard: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """What is heard, normed, and as it is."""
        return self.input_layernorm(heard), heard


def _columns(queries: Tensor, begun: Sequence[tuple[Tensor, Tensor]], window: int) -> Tensor:
    """Attention of ``queries [texts, heads, length, dim]`` to the first step's entries up to each place, and to later
    steps' at that very place; entries ``[texts, kv_heads, length, dim]``."""
    group, length = queries.shape[1] // begun[0][0].shape[1], queries.shape[2]
    if len(begun) == 1 and not 0 < window < length:
        keys, values = begun[0]
        return F.scaled_dot_product_attention(queries, keys, values, is_causal=True, enable_gqa=group > 1)
    seen = torch.ones(length, length, dtype=torch.bool).tril()
    if window:
        seen = seen.triu(len(begun) - window)  # a place is so many steps further by now
    scale = 1 / math.sqrt(queries.shape[-1])
    spread = [(k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)) for k, v in begun]
    past = queries @ spread[0][0].transpose(-1, -2) * scale
    past = past.masked_fill(~seen, -torch.inf)
    own = [(queries * k).sum(-1, keepdim=True) * scale for k, _ in spread[1:]]
    weights = torch.cat([past, *own], -1).softmax(-1)
    out = weights[..., :length] @ spread[0][1]
    for i, (_, v) in enumerate(spread[1:]):
        out = out + weights[..., length + i, None] * v
    return out
