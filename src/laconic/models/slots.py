"""The slot KV cache: one row of keys and values per sequence, each with its own length.

Layout of a layer's buffer: ``[rows, capacity, kv_heads, head_dim]``, so that the new entries of a ragged batch are
one ``index_copy_`` and a row's committed past is contiguous. Rows in use are always ``0 .. n-1``: closing a slot
moves the last row into the gap, so a pass over all sequences reads one slice and copies nothing. Beyond a row's
length the buffer holds leftovers that no mask ever shows. Entries that a slot shares with others, or that were reduced,
lie outside of these buffers (:class:`Entries`, ``models.past``); passes read them before what is in the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from laconic.models.base import ScoreTree
from laconic.models.native import bf16
from laconic.models.past import Attention, Held
from laconic.models.slot import CacheSlot, Entries
from laconic.models.slot_pass import SlotPass

BLOCK = 256
"""Tokens by which a row's capacity grows."""
_IDLE = 1 << 28
"""Bytes that a pool without any slots may hold on to."""
_WORTH = 1 << 26
"""Bytes below which memory is not given back while slots are open: it would have to be copied."""


class _SlotLayer(CacheLayerMixin):  # type: ignore[misc]  # Transformers ships no types
    """One layer's buffers, behind the interface that Transformers models write to."""

    is_compileable = False
    is_sliding = False

    def __init__(self, pool: SlotPool, index: int) -> None:
        super().__init__()
        self.pool = pool
        self.index = index
        self.k: torch.Tensor | None = None
        self.v: torch.Tensor | None = None

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Allocate on first use: only then are heads, dimensions and dtype known."""
        shape = (self.pool.row_capacity, self.pool.capacity)
        self.k = key_states.new_zeros((*shape, key_states.shape[1], key_states.shape[3]))
        self.v = value_states.new_zeros((*shape, value_states.shape[1], value_states.shape[3]))
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write ``[rows, kv_heads, width, dim]`` at the pass's places; return all that the rows may look at."""
        if self.k is None:
            self.lazy_initialization(key_states, value_states)
        assert self.k is not None
        assert self.v is not None
        now, where = self.pool.current, self.pool.places
        now.layer = self.index
        for buffer, new in ((self.k, key_states), (self.v, value_states)):
            buffer.view(-1, *buffer.shape[2:]).index_copy_(0, where, new.transpose(1, 2).flatten(0, 1))
        rows = slice(now.lo, now.lo + now.rows)
        return self.k[rows, : now.keys].transpose(1, 2), self.v[rows, : now.keys].transpose(1, 2)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys; models ask, the slot attention does not."""
        return self.pool.current.keys, 0

    def get_seq_length(self) -> int:
        """Always 0: positions are given with each pass."""
        return 0

    def get_max_length(self) -> int:
        """No limit of its own."""
        return -1

    def buffers_for(self, heads: int, dim: int, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys' and values' buffers, allocated on first use, for a writer that scatters into them itself."""
        if self.k is None or self.v is None:
            entry = like.new_empty((1, heads, 1, dim))
            self.lazy_initialization(entry, entry)
        assert self.k is not None
        assert self.v is not None
        return self.k, self.v

    def buffers(self) -> list[torch.Tensor]:
        """Keys and values, once allocated."""
        return [t for t in (self.k, self.v) if t is not None]


class Outputs:
    """What some layers put out at every committed token, kept like a layer's entries: ``[rows, capacity, n, hidden]``.

    Nothing is kept until somebody asks for ``layers``.
    """

    def __init__(self) -> None:
        self.layers: tuple[int, ...] = ()
        self.k: torch.Tensor | None = None
        self.v: None = None

    def write(self, index: int, where: torch.Tensor, x: torch.Tensor, shape: tuple[int, int]) -> None:
        """Put ``x [nodes, hidden]``, the outputs of ``layers[index]``, at the places ``where [nodes]`` of the pool."""
        if self.k is None:
            self.k = x.new_zeros((*shape, len(self.layers), x.shape[-1]))
        self.k.view(-1, *self.k.shape[2:])[:, index].index_copy_(0, where, x)

    def buffers(self) -> list[torch.Tensor]:
        """The buffer, once allocated."""
        return [] if self.k is None else [self.k]


class SlotPool:
    """All rows of one model's cache. ``context`` bounds a row's length, padding aside."""

    def __init__(self, layers: int, device: torch.device) -> None:
        self.device = device
        self.capacity = BLOCK
        self.row_capacity = 1
        self.slots: list[CacheSlot] = []
        self.layers = [_SlotLayer(self, index) for index in range(layers)]
        self.cache = Cache(layers=list(self.layers))
        self.outputs = Outputs()
        self.shares = False
        """Whether passes can read entries that lie outside of the buffers, so that slots may share them."""
        self.attention: dict[int, Attention] = {}
        """How each layer attends, as its passes have shown."""
        self.current: SlotPass
        self.places: torch.Tensor

    def open(self) -> CacheSlot:
        """A new, empty slot in the first free row."""
        if len(self.slots) == self.row_capacity:
            self._resize(rows=2 * self.row_capacity, capacity=self.capacity)
        slot = CacheSlot(self, len(self.slots))
        self.slots.append(slot)
        return slot

    def close(self, slot: CacheSlot) -> None:
        """Free the slot's row and move the last row into it."""
        if slot.row >= len(self.slots) or self.slots[slot.row] is not slot:
            raise ValueError("the slot is already closed")
        last = self.slots.pop()
        if last is not slot:
            self.copy(last.row, slot.row, last.own)
            last.row = slot.row
            self.slots[slot.row] = last
        if not self.slots and self.nbytes > _IDLE:
            self._let_go()

    @torch.inference_mode()
    def taken(self, slot: CacheSlot) -> Entries:
        """A copy of what a slot has committed."""
        buffers = [buffer for layer in self.layers for buffer in layer.buffers()]
        if slot.stem is None or not slot.shared:
            entries = tuple(buffer[slot.row, : slot.length].clone() for buffer in buffers)
        else:
            parts = zip(slot.stem.buffers, buffers, strict=True)
            entries = tuple(torch.cat([s[: slot.shared], own[slot.row, : slot.own]]) for s, own in parts)
        shown = self.shown(slot, 0)
        return Entries(slot.length, entries, None if shown is None else shown.clone(), self.outputs.layers)

    @torch.inference_mode()
    def given(self, entries: Entries, length: int) -> CacheSlot:
        """A new slot that begins with the first ``length`` of some entries. Raises ValueError for more than there are.

        It shares them where passes can read them where they lie, else it has copies.
        """
        if not 0 <= length <= entries.length:
            raise ValueError(f"cannot resume {length} of {entries.length} tokens")
        if self.shares and not self.slots and self.capacity > BLOCK:
            self._let_go()  # rows as long as what is shared now would be kept empty
        slot = self.open()
        shown = entries.outputs if entries.layers == self.outputs.layers else None
        slot.shown_from = length if shown is None else 0
        if self.shares:
            slot._length = slot.shared = length
            # A short beginning is copied, or it would keep all of the rest in memory.
            slot.stem = None if not length else entries if 2 * length >= entries.length else entries.first(length)
            return slot
        if length > self.capacity:
            self._resize(rows=self.row_capacity, capacity=-(-length // BLOCK) * BLOCK)
        if any(layer.k is None for layer in self.layers):
            for layer, k, v in zip(self.layers, entries.buffers[::2], entries.buffers[1::2], strict=True):
                layer.lazy_initialization(k.transpose(0, 1)[None], v.transpose(0, 1)[None])
        buffers = (buffer for layer in self.layers for buffer in layer.buffers())
        for buffer, kept in zip(buffers, entries.buffers, strict=True):
            buffer[slot.row, :length] = kept[:length]
        slot._length = length
        if shown is not None:
            if self.outputs.k is None:
                self.outputs.k = shown.new_zeros((self.row_capacity, self.capacity, *shown.shape[1:]))
            self.outputs.k[slot.row, :length] = shown[:length]
        return slot

    def show(self, layers: Sequence[int]) -> None:
        """Keep these layers' outputs from now on, in place of what was kept before; of none, nothing."""
        if tuple(layers) != self.outputs.layers:
            self.outputs.layers, self.outputs.k = tuple(layers), None
            for slot in self.slots:
                slot.shown_from = slot.length

    def shown(self, slot: CacheSlot, begin: int) -> torch.Tensor | None:
        """Outputs ``[length - begin, n, hidden]`` at a slot's tokens from ``begin`` on; None if not all are there."""
        if begin < slot.shown_from:
            return None
        buffer, parts = self.outputs.k, []
        if begin < slot.shared and slot.stem is not None and slot.stem.outputs is not None:
            parts.append(slot.stem.outputs[begin : slot.shared])
        if slot.past is not None and begin < slot.past.length:
            if slot.outputs is None:
                return None
            parts.append(slot.outputs[begin - slot.shown_from :])
        if buffer is not None:
            parts.append(buffer[slot.row, max(begin - slot.begin, 0) : slot.own])
        return None if not parts else parts[0] if len(parts) == 1 else torch.cat(parts)

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers, in use or not, and of what slots share, once."""
        stems = {id(slot.stem): slot.stem.nbytes for slot in self.slots if slot.stem is not None}
        return sum(buffer.nbytes for layer in self._stored for buffer in layer.buffers()) + sum(stems.values())

    @property
    def _stored(self) -> tuple[_SlotLayer | Outputs, ...]:
        return (*self.layers, self.outputs)

    def _let_go(self) -> None:
        """Give the buffers back, which nobody uses: they are as large as the most that was ever in flight."""
        self.capacity, self.row_capacity = BLOCK, 1
        for layer in self.layers:
            layer.k, layer.v, layer.is_initialized = None, None, False
        self.outputs.k = None

    def begin(self, trees: Sequence[ScoreTree], slots: Sequence[CacheSlot]) -> SlotPass:
        """Prepare a pass over ``trees``; rows between the slots' that take no part are padded."""
        rows = [slot.row for slot in slots]
        lo = min(rows)
        by_row: list[ScoreTree | None] = [None] * (max(rows) - lo + 1)
        for row, tree in zip(rows, trees, strict=True):
            by_row[row - lo] = tree
        held = self.slots[lo : lo + len(by_row)]
        lengths, own = [slot.length for slot in held], [slot.own for slot in held]
        stems, shared = [slot.stem for slot in held], [slot.shared for slot in held]
        now = SlotPass(self, lo, lengths, by_row, stems, shared, [slot.past for slot in held])
        for slot, row in zip(slots, rows, strict=True):
            slot.begins(now, row - lo)
        now.asks = any(slot.length + len(tree) > slot.watched for slot, tree in zip(slots, trees, strict=True))
        now.attention = self.attention
        needed = max(own) + now.width
        if needed > self.capacity:
            self._resize(rows=self.row_capacity, capacity=-(-needed // BLOCK) * BLOCK)
        starts = torch.tensor([(lo + i) * self.capacity + length for i, length in enumerate(own)])
        places = (starts[:, None] + torch.arange(now.width)).flatten()
        if self.device.type != "cpu":
            now.to(self.device)
            places = places.to(self.device)
        self.current, self.places = now, places
        return now

    @torch.inference_mode()
    def gather(self, row: int, length: int, path: Sequence[int]) -> None:
        """Move the entries at places ``path`` of the row's free space, which rise, to its front."""
        if self.device.type == "cpu" and (kernels := bf16.loaded()) is not None:
            held = [buffer for layer in self._stored for buffer in layer.buffers()]
            pointers = np.array([buffer.data_ptr() for buffer in held], dtype=np.uint64)
            sizes = np.array([buffer.stride(1) * buffer.element_size() for buffer in held], dtype=np.int64)
            places, at = np.array(path, dtype=np.int64), row * self.capacity + length
            parts = pointers.ctypes.data, sizes.ctypes.data, len(held), at, places.ctypes.data, len(path)
            kernels.entries_move(*parts)
            return
        source = torch.tensor(path, device=self.device) + length
        for layer in self._stored:
            for buffer in layer.buffers():
                buffer[row, length : length + len(path)] = buffer[row].index_select(0, source)

    @torch.inference_mode()
    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first ``length`` entries of one row to another."""
        for layer in self._stored:
            for buffer in layer.buffers():
                buffer[target, :length] = buffer[source, :length]

    @torch.inference_mode()
    def held(self, slot: CacheSlot, queries: Sequence[torch.Tensor]) -> list[Held | None]:
        """All entries of a slot, layer by layer, with the queries of those layers that attend, if there are any."""
        asked = iter(queries)
        found: list[Held | None] = []
        for index, layer in enumerate(self.layers):
            if layer.k is None or layer.v is None:
                found.append(None)
                continue
            own = layer.k[slot.row, : slot.own], layer.v[slot.row, : slot.own]
            kept = None if slot.past is None else slot.past.layers[index]
            before: tuple[torch.Tensor, torch.Tensor] | None = None
            if kept is not None:
                before = kept.dense()
            elif slot.stem is not None and slot.shared:
                k, v = slot.stem.buffers[2 * index : 2 * index + 2]
                before = k[: slot.shared], v[: slot.shared]
            k, v = own if before is None else (torch.cat([b, o]) for b, o in zip(before, own, strict=True))
            attention = self.attention.get(index) or Attention(k.shape[-1] ** -0.5)
            mine = next(asked, k.new_empty((0, k.shape[1], k.shape[2])))
            found.append(Held(k, v, mine, 0 if kept is None else kept.count, attention))
        return found

    @torch.inference_mode()
    def take(self, slot: CacheSlot, other: CacheSlot, at: int) -> None:
        """Copy entries of a slot of another pool, from token ``at`` on, shared ones too, behind those of ``slot``."""
        to, count = at - slot.begin, other.length - at
        if to + count > self.capacity:
            self._resize(self.row_capacity, -(-(to + count) // BLOCK) * BLOCK)
        for index, (mine, theirs) in enumerate(zip(self.layers, other.pool.layers, strict=True)):
            if theirs.k is None or theirs.v is None:
                continue
            heads, dim = theirs.k.shape[2:]
            for which, buffer in enumerate(mine.buffers_for(heads, dim, theirs.k)):
                own = (theirs.k, theirs.v)[which][other.row, max(at - other.begin, 0) : other.own]
                if other.stem is not None and at < other.shared:
                    own = torch.cat([other.stem.buffers[2 * index + which][at : other.shared], own])
                buffer[slot.row, to : to + count] = own

    @torch.inference_mode()
    def keep_from(self, slot: CacheSlot, first: int) -> None:
        """Have a slot's row begin with token ``first``, whose entries may lie in what the slot shares with others."""
        if first >= slot.begin:
            if slot.begin < first < slot.length:
                self.gather(slot.row, 0, range(first - slot.begin, slot.own))
            return
        assert slot.stem is not None
        count, own = slot.begin - first, slot.own
        if count + own >= self.capacity:
            self._resize(self.row_capacity, -(-(count + own + 1) // BLOCK) * BLOCK)
        sources = [buffer[first : slot.shared] for buffer in slot.stem.buffers]
        targets = [buffer for layer in self.layers for buffer in layer.buffers()]
        if self.outputs.k is not None and slot.stem.outputs is not None:
            sources.append(slot.stem.outputs[first : slot.shared])
            targets.append(self.outputs.k)
        for buffer, source in zip(targets, sources, strict=True):
            buffer[slot.row, count : count + own] = buffer[slot.row, :own].clone()
            buffer[slot.row, :count] = source

    def fit(self) -> None:
        """Give memory back where rows have become much shorter than their room."""
        if 2 * self._fitting <= self.capacity:
            self._resize(self.row_capacity, self._fitting)

    def shrink(self) -> None:
        """Give memory back where all rows together have four times the room that they need, or more.

        For between passes: what a pass has read and nobody has committed is lost.
        """
        if not self.slots or self.nbytes < _WORTH:
            return
        rows = 1 << (len(self.slots) - 1).bit_length()
        if 4 * rows * self._fitting <= self.row_capacity * self.capacity:
            self._resize(rows, self._fitting)

    @property
    def _fitting(self) -> int:
        """Room for the longest row and one token more."""
        needed = max((slot.own for slot in self.slots), default=0) + 1
        return -(-needed // BLOCK) * BLOCK

    @property
    def token_nbytes(self) -> int:
        """Bytes of one token's entries over all layers, kept outputs included; 0 before the first pass."""
        return sum(b[0, 0].nbytes for layer in self._stored for b in layer.buffers())

    @torch.inference_mode()
    def _resize(self, rows: int, capacity: int) -> None:
        for layer in self._stored:
            for name in ("k", "v"):
                old = getattr(layer, name)
                if old is not None:
                    new = old.new_zeros((rows, capacity, *old.shape[2:]))
                    row, length = min(rows, old.shape[0]), min(capacity, old.shape[1])
                    new[:row, :length] = old[:row, :length]
                    setattr(layer, name, new)
        self.row_capacity, self.capacity = rows, capacity
