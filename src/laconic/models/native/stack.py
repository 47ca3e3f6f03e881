"""The layers of a decoder in one call of ``stack.c``."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from laconic.models.four_bits import FourBits
from laconic.models.native.bf16 import Kernels, Layer, Pass, Stack
from laconic.models.partial import WHOLE, LayerPlan
from laconic.models.past import Attention
from laconic.models.slot_pass import SlotPass
from laconic.models.slots import SlotPool
from laconic.models.units import InUnits


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """What a layer is made of; weights as ``Kernels.pack`` lays them out, gains in float32."""

    norm_in: Tensor
    norm_mid: Tensor
    head_gain: Tensor | None
    qkv: Tensor
    qkv_bias: Tensor | None
    out: Tensor
    out_bias: Tensor | None
    gate_up: Tensor
    down: Tensor
    window: int | None


class NativeStack:
    """All layers of a model in bfloat16 on a CPU.

    ``sizes`` are heads, key heads, and values of a head (a multiple of 32); ``eps`` those of the norms and the heads'.
    """

    def __init__(
        self,
        native: Kernels,
        layers: Sequence[LayerWeights],
        sizes: tuple[int, int, int],
        scale: float,
        eps: tuple[float, float],
    ) -> None:
        self._native = native
        self._weights = layers  # kept alive: the structures below point into them
        self._sizes, self._scale, self._eps = sizes, scale, eps
        self._layers = (Layer * len(layers))(*map(_layer, layers))
        self._inner = layers[0].down.shape[1] * 2
        self._buffers: tuple[Tensor, ...] = ()

    def __call__(
        self,
        pool: SlotPool,
        x: Tensor,
        angles: tuple[Tensor, Tensor],
        places: Tensor,
        *,
        first: int = 0,
        last: int | None = None,
        plan: LayerPlan = WHOLE,
    ) -> None:
        """Put ``x [nodes, hidden]`` through layers ``first .. last - 1`` of the pass at hand, in place.

        What ``plan`` leaves out of them is left out.

        ``angles`` are cosines and signed sines ``[nodes, 1, dim]``, ``places [nodes]`` where keys and values are
        written. Rows of different lengths are not padded.
        """
        now, (cos, sin) = pool.current, angles
        assert x.dtype == cos.dtype == sin.dtype == torch.bfloat16
        assert places.dtype == torch.int64
        assert all(t.is_contiguous() for t in (x, cos, sin, places))
        key = self._point_to_cache(pool, x)
        masks = self._point_to_masks(now)
        starts = torch.tensor([*now.starts, len(x)])
        shared = self._point_to_stems(now)
        last = len(self._layers) if last is None else last
        if len(pool.attention) < len(self._weights):
            for index, weights in enumerate(self._weights):
                pool.attention[index] = Attention(self._scale, weights.window)
        kept = self._point_to_pasts(now, range(first, last))
        if now.asks and plan == WHOLE:
            self._keep_queries(now, len(x))
        heads, _, dim = self._sizes
        sizes = now.rows, now.width, now.keys, *self._sizes
        strides = heads * dim, key.stride(0), key.stride(1)
        counts = shared[0].data_ptr() if shared else None
        pasts = max((past.longest for past in now.pasts if past is not None), default=0)
        pointers = *[None] * 4, starts.data_ptr(), None, counts, *[None] * 8
        attended = Pass(*pointers, pasts, *sizes, *strides, self._scale)
        tables = cos.data_ptr(), sin.data_ptr(), places.data_ptr()
        shape = now.lo * key.stride(0), len(x), x.shape[1], self._inner
        layers, begin, count = self._layers, first, last - first
        if plan != WHOLE:
            layers = self._left(plan, range(first, last))
            begin, count = 0, len(layers)
        self._native.stack(layers, begin, count, Stack(attended, *shape, *tables, *self._eps), x)
        del masks, starts, shared, kept  # only now: the call read them
        for layer in self._layers:
            layer.query = None

    def _left(self, plan: LayerPlan, layers: range) -> ctypes.Array[Layer]:
        """Those of the layers of which something is left, without what is left out."""
        left = [layer for layer in layers if layer not in plan.gone]
        made = (Layer * len(left))(*(self._layers[layer] for layer in left))
        for own, layer in zip(made, left, strict=True):
            if layer in plan.attention:
                own.qkv = None
            if layer in plan.mlp:
                own.gate_up = None
        return made

    def _point_to_cache(self, pool: SlotPool, like: Tensor) -> Tensor:
        """Let every layer know its keys' and values' buffers, which grow with the pool; returns one of them."""
        _, heads, dim = self._sizes
        buffers = [buffer for cache in pool.layers for buffer in cache.buffers_for(heads, dim, like)]
        if len(buffers) != len(self._buffers) or buffers[0] is not self._buffers[0]:
            for layer, key, value in zip(self._layers, buffers[::2], buffers[1::2], strict=True):
                assert key.dtype == value.dtype == torch.bfloat16
                layer.key, layer.value = key.data_ptr(), value.data_ptr()
            self._buffers = tuple(buffers)
        return buffers[0]

    def _point_to_stems(self, now: SlotPass) -> tuple[Tensor, ...]:
        """Let every layer know where the first keys and values of rows lie that share them with others.

        Returns how many these are in each row, and the places, both of which must outlive the pass; nothing where no
        row shares any.
        """
        if any(now.shared):
            none = torch.zeros(2 * len(self._layers), dtype=torch.int64)
            rows = torch.stack([none if stem is None else stem.pointers for stem in now.stems])
            places = rows.T.contiguous()
            for index, layer in enumerate(self._layers):
                layer.stem_key, layer.stem_value = places[2 * index].data_ptr(), places[2 * index + 1].data_ptr()
            return torch.tensor(now.shared), places
        return ()

    def _point_to_pasts(self, now: SlotPass, layers: range) -> list[Tensor]:
        """Let ``layers`` know what is left of the beginnings of rows' texts, if anything is.

        Returns the tensors that say so, which must outlive the pass, as the pasts do.
        """
        made: list[Tensor] = []
        longest = max((past.longest for past in now.pasts if past is not None), default=0)
        for index, (layer, weights) in enumerate(zip(self._layers, self._weights, strict=True)):
            layer.past = layer.past_key = layer.past_value = layer.packed = layer.past_mask = layer.units = None
            if not now.pasts or index not in layers:
                continue
            kept = [None if past is None else past.layers[index] for past in now.pasts]
            # Of four bits a layer is read as it is; others, if they are not plain, are unpacked for each pass.
            packed = [one.kernel if self._native.packs and isinstance(one, FourBits) else None for one in kept]
            pairs = zip(kept, packed, strict=True)
            both = [None if one is None or code is not None else one.dense() for one, code in pairs]
            assert all(t.dtype == torch.bfloat16 and t.is_contiguous() for pair in both if pair for t in pair)
            counts = torch.tensor([0 if one is None else one.count for one in kept])
            places = torch.tensor([[0 if pair is None else pair[i].data_ptr() for pair in both] for i in range(2)])
            made += [counts, places, *(t for pair in both if pair for t in pair)]
            if any(code is not None for code in packed):
                codes = torch.tensor([0 if code is None else ctypes.addressof(code) for code in packed])
                made.append(codes)
                layer.packed = codes.data_ptr()
            if any(isinstance(one, InUnits) for one in kept):
                parted = [ctypes.addressof(one.kernel) if isinstance(one, InUnits) else 0 for one in kept]
                made.append(units := torch.tensor(parted))
                layer.units = units.data_ptr()
            layer.past, layer.past_key, layer.past_value = counts.data_ptr(), places[0].data_ptr(), places[1].data_ptr()
            now.layer = index
            masks = [now.past_mask_for(weights.window, row) for row in range(now.rows)]
            if any(mask is not None for mask in masks):
                seen = torch.ones(now.rows, now.width, longest, dtype=torch.bool)
                for row, mask in zip(seen, masks, strict=True):
                    if mask is not None:
                        row[:, : mask.shape[1]] = mask
                made.append(seen)
                layer.past_mask = seen.data_ptr()
        return made

    def _keep_queries(self, now: SlotPass, nodes: int) -> None:
        """Have every layer leave its queries where the pass shows them."""
        heads, _, dim = self._sizes
        if not now.queries:
            for index, weights in enumerate(self._weights):
                now.layer = index
                now.note(torch.empty(nodes, heads, dim, dtype=torch.bfloat16), Attention(self._scale, weights.window))
        for layer, queries in zip(self._layers, now.queries, strict=True):
            layer.query = queries.data_ptr()

    def _point_to_masks(self, now: SlotPass) -> list[Tensor | None]:
        """Let every layer know who sees whom; returns the masks, which must outlive the pass."""
        windows = {weights.window for weights in self._weights}
        masks = {window: None if (m := now.mask_for(window)) is None else m.contiguous() for window in windows}
        for layer, weights in zip(self._layers, self._weights, strict=True):
            mask = masks[weights.window]
            layer.mask = None if mask is None else mask.data_ptr()
        return list(masks.values())


def _layer(w: LayerWeights) -> Layer:
    parts = (w.norm_in, w.norm_mid, w.head_gain, w.qkv, w.qkv_bias, w.out, w.out_bias, w.gate_up, w.down)
    return Layer(*(None if part is None else part.data_ptr() for part in parts))
