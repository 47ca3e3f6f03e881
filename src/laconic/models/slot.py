"""One sequence's row of the slot cache, and what it shares with others or has left of its beginning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from laconic.models.past import FOREVER, Asked, Keeper, Past

if TYPE_CHECKING:
    from laconic.models.carried import Carried
    from laconic.models.mixers import States
    from laconic.models.slot_pass import SlotPass
    from laconic.models.slots import SlotPool
    from laconic.models.steering import Steering


class CacheSlot:
    """One sequence's row; see models.base.Slot."""

    def __init__(self, pool: SlotPool, row: int) -> None:
        self.pool = pool
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
        self._scored_begin = 0
        self._length = 0
        self.keeper: Keeper | None = None
        """Who says what of this sequence stays in the cache; None where everything does."""
        self.past: Past | None = None
        """What is left of the sequence's beginning, once the cache has been reduced."""
        self.outputs: torch.Tensor | None = None
        """What layers put out at the tokens from ``shown_from`` to the end of the past, where somebody asked for it."""
        self._asked = Asked()
        self._pass: tuple[SlotPass, int] | None = None
        """The last pass that this slot took part in, and its row there."""

    @property
    def length(self) -> int:
        """Committed tokens."""
        return self._length

    def commit(self, path: Sequence[int]) -> None:
        """Keep ``path`` of the last pass. Entries move only where they do not follow what is committed already."""
        if self.carried is not None:
            self.carried.commit(path)
        ahead = self.scored_at - self._scored_begin - self.own
        if any(node + ahead != i for i, node in enumerate(path)):
            self.pool.gather(self.row, self.own, [node + ahead for node in path])
        self._ask(path)
        self._length += len(path)

    @property
    def begin(self) -> int:
        """Tokens whose entries are not in the row: they are shared, or of a past."""
        return self.shared if self.past is None else self.past.length

    @property
    def own(self) -> int:
        """Committed tokens whose entries are in the row."""
        return self._length - self.begin

    @property
    def room(self) -> int:
        """Tokens that may still be committed before :meth:`compact` must be called."""
        return FOREVER if self.keeper is None else self.keeper.stop - self._length

    @property
    def watched(self) -> int:
        """Position from which on the keeper will look at queries."""
        return FOREVER if self.keeper is None or not self.keeper.looks else self.keeper.stop - self.keeper.looks

    def begins(self, now: SlotPass, row: int) -> None:
        """A pass begins, in whose row ``row`` this slot is: its entries come behind what is in the row now."""
        self._pass = now, row
        self.scored_at, self._scored_begin = self._length, self.begin

    def compact(self, *, tidy: bool = False) -> None:
        """Reduce the cache to what the keeper wants to keep. To be called when there is no :attr:`room` left.

        ``tidy`` gives memory back where rows have become short: between passes alone, of which nodes may still be kept.
        """
        assert self.keeper is not None
        past = self.keeper.reduce(self._length, self.pool.held(self, self._asked.layers))
        self._asked = Asked()
        if past is not None:
            first = max(self.shown_from, 0 if self.past is None else self.past.length)
            shown = self.pool.shown(self, first)
            self.outputs = None if shown is None else shown[: past.length - first].clone()
            self.shown_from = past.length if shown is None else first
            self.pool.keep_from(self, past.length)
            self.past, self.stem, self.shared = past, None, 0
            if tidy:
                self.pool.fit()

    def _ask(self, path: Sequence[int]) -> None:
        """Note the queries of the nodes of the last pass that are kept."""
        if self._pass is None or self._length + len(path) <= self.watched:
            return
        now, row = self._pass
        if now.queries:  # else part of the layers has drafted, and will be taken back
            self._asked.add(now.queries, [now.first(row) + node for node in path], self._length, self.watched)

    def keep(self, tokens: Sequence[int], states: States | None) -> None:
        """Keep a whole pass over ``tokens`` as a chain, after which the recurrent states are ``states``."""
        self._ask(range(len(tokens)))
        self._length += len(tokens)
        if self.carried is not None and states is not None:
            self.carried.filled(tokens, states)

    def rollback(self, count: int) -> None:
        """Forget the last ``count`` tokens; their entries become leftovers.

        Where the cache was reduced behind the point that is gone back to, nothing is left: the text must be read again.
        """
        if not 0 <= count <= self._length:
            raise ValueError(f"cannot roll back {count} of {self._length} tokens")
        if self.keeper is not None and self._length - count < self.keeper.since:
            count, self.past, self.outputs = self._length, None, None
            self.keeper.restart()
        self._length -= count
        self._asked.rollback(self._length)
        self.shared = min(self.shared, self._length)
        self.shown_from = min(self.shown_from, self._length)
        if self.carried is not None:
            self.carried.rollback(count)

    def begin_with(self, past: Past) -> None:
        """Begin an empty slot with a past."""
        self.past, self._length = past, past.length

    def follow(self, other: CacheSlot) -> bool:
        """Take over, from a slot of another pool, the entries of the tokens that it has committed and this one has not.

        False where they have been reduced since.
        """
        at, count = self._length, other.length - self._length
        if count < 0 or (other.past is not None and at < other.past.length):
            return False
        if count:
            self.pool.take(self, other, at)
            self._length = other.length
        return True

    def fork(self) -> CacheSlot:
        """A new slot with a copy of this one's entries; what it shares with others the new one shares, too."""
        other = self.pool.open()
        self.pool.copy(self.row, other.row, self.own)
        other._length, other.stem, other.shared = self._length, self.stem, self.shared
        other.steering, other.shown_from = self.steering, self.shown_from
        other.carried = None if self.carried is None else self.carried.fork()
        other.keeper = None if self.keeper is None else self.keeper.fork()
        other.past, other.outputs, other._asked = self.past, self.outputs, self._asked.fork()
        return other

    def close(self) -> None:
        """Give the row back."""
        self.pool.close(self)
        self._length, self.carried, self.stem, self.shared = 0, None, None, 0
        self.keeper, self.past, self.outputs, self._asked = None, None, None, Asked()

    @property
    def nbytes(self) -> int:
        """Bytes of the committed entries over all layers, shared ones too, of recurrent states, and of what a keeper
        remembers and is going to look at.
        """
        here = (self._length if self.past is None else self.own) * self.pool.token_nbytes
        kept = 0 if self.past is None else self.past.nbytes
        kept += 0 if self.outputs is None else self.outputs.nbytes
        known = 0 if self.keeper is None else self.keeper.nbytes + self._asked.nbytes
        return here + kept + known + (self.carried.nbytes if self.carried is not None else 0)


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
