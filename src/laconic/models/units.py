"""Entries that are all there, in units of which a query reads those that promise most (``models.past``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from laconic.models.native.bf16 import Units


@dataclass(frozen=True, eq=False)
class InUnits:
    """Entries ``keys`` and ``values [count, kv_heads, head_dim]`` in units of neighbours; a query reads ``most``.

    Unit ``u`` holds the entries ``starts[u] .. starts[u + 1] - 1`` and is described by ``low`` and ``high [units,
    kv_heads, head_dim]``, between which its keys are taken to lie. What it promises to a query ``q`` is the most that
    its product with such a key can be, ``sum_d max(q_d low_d, q_d high_d)``; of the query heads that share a key head
    the largest counts, since they read the same. With ``low = high`` it is the product with that one key. Units are
    read in the order of their promise, of equals the earlier one first, as long as all of the next still fits in
    ``most`` entries; the first is always read. Where all entries fit, all are read.
    """

    keys: Tensor
    values: Tensor
    starts: Tensor
    low: Tensor
    high: Tensor
    most: int

    positions = None

    @staticmethod
    def joined(parts: Sequence[InUnits]) -> InUnits:
        """Some of them, one behind the other."""
        ends, starts = 0, []
        for part in parts:
            starts.append(part.starts[:-1] + ends)
            ends += part.count
        starts.append(parts[0].starts.new_tensor([ends]))
        fields = ("keys", "values", "low", "high")
        keys, values, low, high = (torch.cat([getattr(part, name) for part in parts]) for name in fields)
        return InUnits(keys, values, torch.cat(starts), low, high, parts[0].most)

    @property
    def count(self) -> int:
        """Entries of each key head."""
        return len(self.keys)

    @property
    def nbytes(self) -> int:
        """Bytes of entries and of what units are described by."""
        return sum(part.nbytes for part in (self.keys, self.values, self.starts, self.low, self.high))

    def dense(self) -> tuple[Tensor, Tensor]:
        """All entries, as they were written."""
        return self.keys, self.values

    def read(self, queries: Tensor) -> Tensor | None:
        """Which entries ``queries [nodes, heads, head_dim]`` read, ``[heads, nodes, count]``; None where all are."""
        if self.count <= self.most:
            return None
        nodes, heads, dim = queries.shape
        kv_heads = self.keys.shape[1]
        q = queries.float().view(nodes, kv_heads, heads // kv_heads, dim).permute(1, 2, 0, 3)
        low, high = (edge.float().permute(1, 2, 0)[:, None] for edge in (self.low, self.high))
        promise = (q.clamp(min=0) @ high + q.clamp(max=0) @ low).amax(1)  # [kv_heads, nodes, units]
        order = promise.argsort(stable=True, dim=-1, descending=True)
        sizes = self.starts.diff()
        fits = sizes[order].cumsum(-1) <= self.most
        fits[..., 0] = True
        chosen = torch.zeros_like(fits).scatter_(-1, order, fits)
        return chosen.repeat_interleave(sizes, -1).repeat_interleave(heads // kv_heads, 0)

    @cached_property
    def kernel(self) -> Units:
        """How the kernel sees it; the tensors must live as long."""
        edges = self.low.data_ptr(), self.high.data_ptr()
        return Units(self.starts.data_ptr(), *edges, len(self.starts) - 1, self.most)
