"""The slot KV cache: one row of keys and values per sequence, each with its own length.

Layout of a layer's buffer: ``[rows, capacity, kv_heads, head_dim]``, so that the new entries of a ragged batch are
one ``index_copy_`` and a row's committed past is contiguous. Rows in use are always ``0 .. n-1``: closing a slot
moves the last row into the gap, so a pass over all sequences reads one slice and copies nothing. Beyond a row's
length the buffer holds leftovers that no mask ever shows.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from laconic.models.base import ScoreTree
from laconic.models.native import bf16

if TYPE_CHECKING:
    from laconic.models.carried import Carried
    from laconic.models.mixers import States
    from laconic.models.steering import Steering

BLOCK = 256
"""Tokens by which a row's capacity grows."""
_IDLE = 1 << 28
"""Bytes that a pool without any slots may hold on to."""


class SlotPass:
    """One pass over the rows ``lo .. lo+len(lengths)-1``: where its nodes are written and what each may see."""

    def __init__(
        self,
        lo: int,
        lengths: Sequence[int],
        trees: Sequence[ScoreTree | None],
        stems: Sequence[Entries | None] = (),
        shared: Sequence[int] = (),
    ) -> None:
        self.lo = lo
        self.stems = stems
        """Where the first ``shared`` entries of each row are; what is no row's own is not in the pool's buffers."""
        self.shared = shared
        self.rows = len(lengths)
        self.lengths = lengths
        self.width = max(len(tree) for tree in trees if tree is not None)
        self.keys = max(length for length, tree in zip(lengths, trees, strict=True) if tree is not None) + self.width
        self._trees = trees
        self._windows: dict[int | None, torch.Tensor | None] = {}
        self._folded: dict[tuple[int | None, int, torch.dtype], torch.Tensor | None] = {}
        sizes = [len(tree) if tree is not None else 0 for tree in trees]
        self.starts = list(itertools.accumulate(sizes, initial=0))[:-1]
        """Index of each row's first node among all that are real."""
        self.real: torch.Tensor | None = None
        """Places of the real nodes in ``[rows * width]``; None where nothing is padding."""
        if sum(sizes) < self.rows * self.width:
            self.real = torch.tensor([row * self.width + i for row, size in enumerate(sizes) for i in range(size)])
        self._chains = all(tree is None or tree.is_chain for tree in trees)
        if self._chains:
            starts = torch.tensor(lengths)[:, None]
            self.positions = starts + torch.arange(self.width)
            self._key_positions: torch.Tensor | None = None
        else:
            self._layout()

    @property
    def tokens(self) -> torch.Tensor:
        """Token ids ``[rows, width]``; 0 where a row has no node."""
        width = self.width
        return torch.tensor(
            [[*tree.tokens, *[0] * (width - len(tree))] if tree else [0] * width for tree in self._trees]
        )

    def _layout(self) -> None:
        """Positions, visibility and key positions where some row branches; the plain and obvious way."""
        visible = np.zeros((self.rows, self.width, self.keys), dtype=bool)
        positions = np.zeros((self.rows, self.width), dtype=np.int64)
        key_positions = np.broadcast_to(np.arange(self.keys), (self.rows, self.keys)).copy()
        for row, (length, tree) in enumerate(zip(self.lengths, self._trees, strict=True)):
            if tree is None:
                visible[row, :, 0] = True  # a row of padding must see something, or its softmax is NaN
                continue
            for node, parent in enumerate(tree.parents):
                if parent < 0:
                    base = tree.bases[node] if tree.bases and tree.bases[node] >= 0 else length
                    visible[row, node, :base] = True
                    positions[row, node] = base
                else:
                    visible[row, node] = visible[row, parent]
                    positions[row, node] = positions[row, parent] + 1
                visible[row, node, length + node] = True
                key_positions[row, length + node] = positions[row, node]
            visible[row, len(tree) :, 0] = True
        self.positions = torch.from_numpy(positions)
        self._key_positions = torch.from_numpy(key_positions)
        self._windows[None] = torch.from_numpy(visible)[:, None]

    def mask_for(self, window: int | None) -> torch.Tensor | None:
        """Boolean mask ``[rows, 1, width, keys]``, True where a node sees a key; None if every node sees all.

        ``window`` limits the view to keys at most ``window - 1`` positions back, as Transformers defines it.
        """
        if window is not None and self.keys <= window:
            window = None
        if window not in self._windows:
            self._windows[window] = self._mask(window)
        return self._windows[window]

    def folded_mask_for(self, window: int | None, groups: int, dtype: torch.dtype) -> torch.Tensor | None:
        """The mask as numbers to add, ``[rows, 1, groups * width, keys]``: for ``groups`` query heads side by side."""
        key = (window, groups, dtype)
        if key not in self._folded:
            seen = self.mask_for(window)
            if seen is not None:
                hidden = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, -torch.inf)
                seen = hidden.repeat(1, 1, groups, 1)
            self._folded[key] = seen
        return self._folded[key]

    def _mask(self, window: int | None) -> torch.Tensor | None:
        if window is None:  # only chains come here: branching rows have laid out their mask already
            if self.rows == 1 and self.width == 1:
                return None
            return (self._key_indices() <= self.positions[:, :, None])[:, None]
        seen = self.mask_for(None)
        keys = self._key_indices()[None] if self._key_positions is None else self._key_positions
        near = (keys[:, None, :] > self.positions[:, :, None] - window)[:, None]
        return near if seen is None else near & seen

    def _key_indices(self) -> torch.Tensor:
        return torch.arange(self.keys, device=self.positions.device)

    def to(self, device: torch.device) -> None:
        """Move masks and positions to ``device``."""
        self._windows = {w: None if m is None else m.to(device) for w, m in self._windows.items()}
        self.positions = self.positions.to(device)
        self.real = self.real.to(device) if self.real is not None else None
        if self._key_positions is not None:
            self._key_positions = self._key_positions.to(device)


class _SlotLayer(CacheLayerMixin):  # type: ignore[misc]  # Transformers ships no types
    """One layer's buffers, behind the interface that Transformers models write to."""

    is_compileable = False
    is_sliding = False

    def __init__(self, pool: SlotPool) -> None:
        super().__init__()
        self.pool = pool
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


class CacheSlot:
    """One sequence's row; see models.base.Slot."""

    def __init__(self, pool: SlotPool, row: int) -> None:
        self._pool = pool
        self.row = row
        self.steering: Steering | None = None
        """What is added to the residual stream of this sequence; None, as a rule, for nothing."""
        self.carried: Carried | None = None
        """The recurrent states of this sequence, where the model has any."""
        self.scored_at = 0
        """Where the entries of the last pass begin: its length then."""
        self.shown_from = 0
        """Where layers' outputs are kept from: there are none of what was read before anybody asked."""
        self.stem: Entries | None = None
        """Entries that this sequence begins with and shares with others; they are not in its row."""
        self.shared = 0
        """How many of its tokens these are."""
        self._scored_shared = 0
        self._length = 0

    @property
    def length(self) -> int:
        """Committed tokens."""
        return self._length

    def commit(self, path: Sequence[int]) -> None:
        """Keep ``path`` of the last pass. Entries move only where they do not follow what is committed already."""
        if self.carried is not None:
            self.carried.commit(path)
        ahead = self.scored_at - self._scored_shared - self.own
        if any(node + ahead != i for i, node in enumerate(path)):
            self._pool.gather(self.row, self.own, [node + ahead for node in path])
        self._length += len(path)

    @property
    def own(self) -> int:
        """Committed tokens whose entries are in the row."""
        return self._length - self.shared

    def begins(self) -> None:
        """A pass begins: its entries come behind what is in the row now."""
        self.scored_at, self._scored_shared = self._length, self.shared

    def keep(self, tokens: Sequence[int], states: States | None) -> None:
        """Keep a whole pass over ``tokens`` as a chain, after which the recurrent states are ``states``."""
        self._length += len(tokens)
        if self.carried is not None and states is not None:
            self.carried.filled(tokens, states)

    def rollback(self, count: int) -> None:
        """Forget the last ``count`` tokens; their entries become leftovers."""
        if not 0 <= count <= self._length:
            raise ValueError(f"cannot roll back {count} of {self._length} tokens")
        self._length -= count
        self.shared = min(self.shared, self._length)
        self.shown_from = min(self.shown_from, self._length)
        if self.carried is not None:
            self.carried.rollback(count)

    def fork(self) -> CacheSlot:
        """A new slot with a copy of this one's entries; what it shares with others the new one shares, too."""
        other = self._pool.open()
        self._pool.copy(self.row, other.row, self.own)
        other._length, other.stem, other.shared = self._length, self.stem, self.shared
        other.steering, other.shown_from = self.steering, self.shown_from
        other.carried = None if self.carried is None else self.carried.fork()
        return other

    def close(self) -> None:
        """Give the row back."""
        self._pool.close(self)
        self._length, self.carried, self.stem, self.shared = 0, None, None, 0

    @property
    def nbytes(self) -> int:
        """Bytes of the committed entries over all layers, shared ones too, and of recurrent states."""
        return self._length * self._pool.token_nbytes + (self.carried.nbytes if self.carried is not None else 0)


@dataclass(frozen=True, slots=True)
class Entries:
    """Keys and values of a text outside of the pool: ``buffers[i] [length, kv_heads, head_dim]``, layer by layer."""

    length: int
    buffers: tuple[torch.Tensor, ...]
    outputs: torch.Tensor | None = None
    """What ``layers`` put out at these tokens, ``[length, n, hidden]``, if it was kept of all of them."""
    layers: tuple[int, ...] = ()
    pointers: torch.Tensor = field(init=False, repr=False, compare=False)
    """Where the buffers lie, ``[buffers]``: kernels are told so in every pass."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pointers", torch.tensor([buffer.data_ptr() for buffer in self.buffers]))

    def first(self, length: int) -> Entries:
        """A copy of the first ``length``."""
        shown = None if self.outputs is None else self.outputs[:length].clone()
        return Entries(length, tuple(buffer[:length].clone() for buffer in self.buffers), shown, self.layers)

    @property
    def nbytes(self) -> int:
        """Bytes of all of them."""
        shown = 0 if self.outputs is None else self.outputs.nbytes
        return shown + sum(buffer.nbytes for buffer in self.buffers)


class SlotPool:
    """All rows of one model's cache. ``context`` bounds a row's length, padding aside."""

    def __init__(self, layers: int, device: torch.device) -> None:
        self.device = device
        self.capacity = BLOCK
        self.row_capacity = 1
        self.slots: list[CacheSlot] = []
        self.layers = [_SlotLayer(self) for _ in range(layers)]
        self.cache = Cache(layers=list(self.layers))
        self.outputs = Outputs()
        self.shares = False
        """Whether passes can read entries that lie outside of the buffers, so that slots may share them."""
        self.current: SlotPass
        self.places: torch.Tensor

    def open(self) -> CacheSlot:
        """A new, empty slot in the first free row."""
        if len(self.slots) == self.row_capacity:
            self._grow(rows=2 * self.row_capacity, capacity=self.capacity)
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
            self._grow(rows=self.row_capacity, capacity=-(-length // BLOCK) * BLOCK)
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
        if buffer is not None:
            parts.append(buffer[slot.row, max(begin - slot.shared, 0) : slot.own])
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
        for row, tree, slot in zip(rows, trees, slots, strict=True):
            by_row[row - lo] = tree
            slot.begins()
        held = self.slots[lo : lo + len(by_row)]
        lengths, own = [slot.length for slot in held], [slot.own for slot in held]
        now = SlotPass(lo, lengths, by_row, [slot.stem for slot in held], [slot.shared for slot in held])
        needed = max(own) + now.width
        if needed > self.capacity:
            self._grow(rows=self.row_capacity, capacity=-(-needed // BLOCK) * BLOCK)
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

    @property
    def token_nbytes(self) -> int:
        """Bytes of one token's entries over all layers, kept outputs included; 0 before the first pass."""
        return sum(b[0, 0].nbytes for layer in self._stored for b in layer.buffers())

    @torch.inference_mode()
    def _grow(self, rows: int, capacity: int) -> None:
        for layer in self._stored:
            for name in ("k", "v"):
                old = getattr(layer, name)
                if old is not None:
                    new = old.new_zeros((rows, capacity, *old.shape[2:]))
                    new[: old.shape[0], : old.shape[1]] = old
                    setattr(layer, name, new)
        self.row_capacity, self.capacity = rows, capacity
