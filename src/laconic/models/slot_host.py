"""Passes over the slot cache: all sequences and all branches of their trees in one, each node under its own mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from laconic.models import attention, fast, packed
from laconic.models.bare import Bare
from laconic.models.base import Kept, ScoreTree, Slot, chain
from laconic.models.carried import Carried, Round
from laconic.models.host import Made, cache_name, head_input
from laconic.models.mixers import Mixers, Read, States
from laconic.models.partial import WHOLE, LayerPlan, left_out
from laconic.models.past import Held, Keeper, Past
from laconic.models.slot import CacheSlot, Entries
from laconic.models.slot_pass import SlotPass
from laconic.models.slots import SlotPool
from laconic.models.steering import NOWHERE, Steering, Touch, Touches, decoder_layers, hooked, pushes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

REFILL_CHUNK = 512
"""Tokens a pass where recurrent states are made anew."""


class SlotHost:
    """The slot cache under a model that takes an attention function, or under the written-out pass of its family."""

    def __init__(
        self, model: PreTrainedModel | Bare, *, written_out: bool = False, mixers: Mixers | None = None
    ) -> None:
        if not isinstance(model, Bare):
            attention.install()
            model.set_attn_implementation(attention.NAME)
        self.model = model
        layers = int(model.config.get_text_config().num_hidden_layers)
        self._decoder_layers = decoder_layers(model, layers)
        self.pool = SlotPool(layers, model.device)
        self._views: SlotPool | None = None
        """Rows of views, which are much shorter than others."""
        # Transformers builds a mask of its own unless it is given one of four dimensions; ours comes with the pass.
        self._placeholder = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=model.device)
        self.fast = fast.FastDecoder(model) if written_out else None
        """The written-out forward pass, where it is in use."""
        self._cache_name = cache_name(model) or "past_key_values"
        self._plan = WHOLE
        self._at_end: Touch | None = None
        self._mixers = mixers
        if mixers is not None:
            mixers.cache = self.pool.cache

    @property
    def drafts(self) -> bool:
        """Always: one reading of the weights serves all nodes."""
        return True

    @property
    def path(self) -> str:
        """How passes are made."""
        if self._mixers is not None:
            return "slots, recurrent"
        if self.fast is None:
            return "slots"
        if not self.fast.packed:
            return "written-out"
        return "written-out, own kernels" if self.fast.native is not None else "written-out, packed"

    @property
    def even(self) -> bool:
        """With the project's own kernels, in which every sum runs in one order."""
        return self.fast is not None and self.fast.packed and self.fast.native is not None

    @property
    def slots(self) -> list[CacheSlot]:
        """The slots that are open, views too."""
        return [*self.pool.slots, *(self._views.slots if self._views is not None else ())]

    def pack(self) -> None:
        """Let the written-out pass take over the weights in the layout that this processor reads best, if any."""
        if self.fast is not None and packed.worthwhile(self.model.get_input_embeddings().weight):
            self.fast.pack(self.model)
            self.pool.shares = self.fast.stack is not None

    def open(self) -> CacheSlot:
        """A new, empty slot."""
        slot = self.pool.open()
        if self._mixers is not None:
            slot.carried = Carried(self._mixers, self._refill)
        return slot

    @property
    def resumes(self) -> bool:
        """Where there are keys and values alone."""
        return self._mixers is None

    def shrink(self) -> None:
        """One rectangle holds all rows, as long as the longest; see SlotPool.shrink."""
        self.pool.shrink()

    def keep(self, slot: Slot) -> Entries:
        """A copy of a slot's keys and values; see Host."""
        return self.pool.taken(cast("CacheSlot", slot))

    def resume(self, kept: Kept, length: int) -> CacheSlot:
        """A slot that begins with them, shared or copied; see Host."""
        return self.pool.given(cast("Entries", kept), length)

    @property
    def forgets(self) -> bool:
        """Where every layer has keys and values of its own, or none at all."""
        return not getattr(self.model.config.get_text_config(), "num_kv_shared_layers", 0)

    def hold(self, slot: Slot, keeper: Keeper) -> None:
        """Have a keeper say what of a slot's text stays; see Host."""
        mine = cast("CacheSlot", slot)
        if mine.length > max(keeper.stop - keeper.looks, 0) or mine.keeper is not None:
            raise ValueError("a keeper must be there before the first token that it looks at")
        mine.keeper = keeper

    def holds(self, slot: Slot) -> Keeper | None:
        """A slot's keeper; see Host."""
        return cast("CacheSlot", slot).keeper

    @property
    def views(self) -> bool:
        """Where slots can be reduced and hold nothing but keys and values."""
        return self.forgets and self._mixers is None

    def look(self, slot: Slot, tokens: Sequence[int]) -> list[Held | None]:
        """All that a slot holds, and the queries of its last ``tokens``; see Host."""
        mine = cast("CacheSlot", slot)
        if mine.past is not None:
            return []
        count = min(len(tokens), mine.length)
        queries: Sequence[Tensor] = ()
        if count:
            tree = ScoreTree(tokens[-count:], range(-1, count - 1), [mine.length - count] + [-1] * (count - 1))
            now = self._begin([tree], [mine])
            now.asks = True
            self._run(now, NOWHERE)
            first = now.first(mine.row - now.lo)
            queries = [asked[first : first + count] for asked in now.queries]
        return mine.pool.held(mine, queries)

    def view(self, past: Past) -> CacheSlot:
        """A slot that begins with a past; see Host."""
        if self._views is None:
            self._views = SlotPool(len(self.pool.layers), self.pool.device)
            self._views.attention = self.pool.attention
        slot = self._views.open()
        slot.begin_with(past)
        return slot

    def follow(self, view: Slot, slot: Slot) -> bool:
        """Bring a view up to a slot; see Host."""
        return cast("CacheSlot", view).follow(cast("CacheSlot", slot))

    def steer(self, slot: Slot, vectors: Mapping[int, Tensor], start: int) -> None:
        """Push a slot's residual stream; see Host."""
        cast("CacheSlot", slot).steering = Steering(vectors, start) if vectors else None

    @property
    def shows_layers(self) -> bool:
        """Where the model's decoder layers are known."""
        return self.fast is not None or self._decoder_layers is not None

    def show(self, layers: Sequence[int]) -> None:
        """Keep layers' outputs; see Host."""
        self.pool.show(sorted({*self.pool.outputs.layers, *layers}))

    def shown(self, slot: Slot, begin: int, layers: Sequence[int]) -> Tensor | None:
        """What was kept of them; see Host."""
        kept = self.pool.outputs.layers
        found = self.pool.shown(cast("CacheSlot", slot), begin)
        if found is None or tuple(layers) == kept:
            return found
        return found[:, [kept.index(layer) for layer in layers]] if set(layers) <= set(kept) else None

    @property
    def runs_parts(self) -> bool:
        """Where the decoder layers are known, and no recurrent states would take part of a pass for all of it."""
        return self.shows_layers and self._mixers is None

    @property
    def runs_halves(self) -> bool:
        """In the written-out pass."""
        return self.runs_parts and self.fast is not None

    @contextmanager
    def partly(self, plan: LayerPlan, at_end: Touch | None) -> Iterator[None]:
        """Make passes through part of the layers; see Host."""
        before = self._plan, self._at_end
        self._plan, self._at_end = plan, at_end
        try:
            yield
        finally:
            self._plan, self._at_end = before

    def through(self, slot: Slot, tree: ScoreTree, after: Touches) -> None:
        """One pass without logits under touches; see Host."""
        mine = [cast("CacheSlot", slot)]
        with self._begun([tree], mine, record=True) as (now, _):
            self._run(now, after)

    def prefill(self, slot: Slot, tokens: Sequence[int]) -> None:
        """Commit ``tokens``; see Host."""
        self._commit(cast("CacheSlot", slot), tokens, NOWHERE)

    def watch(self, slot: Slot, tokens: Sequence[int], see: Mapping[int, Callable[[Tensor], None]]) -> None:
        """Commit ``tokens`` and show layers' outputs; see Host."""
        self._commit(cast("CacheSlot", slot), tokens, {layer: _shown(show) for layer, show in see.items()})

    def score(self, trees: Sequence[ScoreTree], slots: Sequence[Slot], *, hidden: bool) -> Made:
        """One pass over all trees; see Host."""
        mine = cast("Sequence[CacheSlot]", slots)
        with self._begun(trees, mine, record=True) as (now, _):
            after = self._touches(now, trees, mine)
            logits, states = self.forward(now, after=after, hidden=hidden)
        rows = [slot.row - now.lo for slot in mine]
        starts = [now.starts[row] for row in rows] if self.fast is not None else [row * now.width for row in rows]
        return Made(logits, states, starts)

    def forward(self, now: SlotPass, *, after: Touches = NOWHERE, hidden: bool = False) -> tuple[Tensor, Tensor | None]:
        """Logits of a pass that the pool has prepared, and hidden states where asked for."""
        if self.fast is not None:
            made = self.fast(now.pool, logits=True, after=after, plan=self._plan)
            assert made is not None
            return made[0], made[1] if hidden else None
        with self._left_out(), hooked(self._decoder_layers, after, (now.rows, now.width)):
            out, states = head_input(self.model, lambda: self._call(now, self.model), hidden)
        return out.logits.flatten(0, 1), None if states is None else states.flatten(0, 1)

    def _commit(self, slot: CacheSlot, tokens: Sequence[int], see: Touches) -> None:
        trees = [chain(tokens)]
        with self._begun(trees, [slot], record=False) as (now, read):
            self._run(now, see or self._touches(now, trees, [slot]))
        slot.keep(tokens, None if read is None else read.after)

    def _run(self, now: SlotPass, after: Touches) -> None:
        """A pass that the pool has prepared, without logits."""
        if self.fast is not None:
            self.fast(now.pool, logits=False, after=after, plan=self._plan)
            return
        with self._left_out(), hooked(self._decoder_layers, after, (now.rows, now.width)):
            self._call(now, self.model.base_model)

    def _left_out(self) -> AbstractContextManager[None]:
        if self._plan == WHOLE or self._decoder_layers is None:
            return nullcontext()
        return left_out(self._decoder_layers, self._plan)

    @contextmanager
    def _begun(
        self, trees: Sequence[ScoreTree], slots: Sequence[CacheSlot], *, record: bool
    ) -> Iterator[tuple[SlotPass, Read | None]]:
        """The pass to be made within; mixers read the trees from their slots' states, and ``record`` what they do."""
        if self._mixers is None:
            yield self._begin(trees, slots), None
            return
        carried = [slot.carried for slot in slots if slot.carried is not None]
        made = Round(trees, carried)  # first, since states may have to be made anew in passes of their own
        now = self._begin(trees, slots)
        layout = made.layout(now, [slot.row - now.lo for slot in slots])
        with self._mixers.reading(layout, made.stacked(), record=record) as read:
            yield now, read
        made.read = read
        for index, mine in enumerate(carried):
            mine.scored(made, index)

    def _begin(self, trees: Sequence[ScoreTree], slots: Sequence[CacheSlot]) -> SlotPass:
        now = slots[0].pool.begin(trees, slots)
        now.padded, now.asks = self.fast is None, now.asks and self._plan == WHOLE
        return now

    def _refill(self, tokens: Sequence[int]) -> States:
        """The states after a text, from nothing. Its keys and values are made once more, and dropped."""
        with closing(self.open()) as slot:
            for start in range(0, len(tokens), REFILL_CHUNK):
                self.prefill(slot, tokens[start : start + REFILL_CHUNK])
            assert slot.carried is not None
            return slot.carried.at(len(tokens))

    def _touches(self, now: SlotPass, trees: Sequence[ScoreTree], slots: Sequence[CacheSlot]) -> Touches:
        """What happens to layers' outputs on their way: they are pushed where a slot is steered, then kept if asked."""
        after = self._pushes(now, trees, slots)
        if self._at_end is not None:
            last = len(self.pool.layers) - 1  # left out or not: it then puts out what the one before it did
            after = {**after, last: _both(after.get(last), self._at_end)}
        # What part of the layers puts out would be taken for what all of them do.
        if now.pool is not self.pool or not self.pool.outputs.layers or self._plan != WHOLE:
            return after
        where = self.pool.places
        if self.fast is not None and now.real is not None:
            where = where[now.real]
        return {
            **after,
            **{layer: self._keeping(i, where, after.get(layer)) for i, layer in enumerate(self.pool.outputs.layers)},
        }

    def _keeping(self, index: int, where: Tensor, push: Touch | None) -> Touch:
        pool = self.pool

        def touch(x: Tensor) -> Tensor:
            x = x if push is None else push(x)
            pool.outputs.write(index, where, x, (pool.row_capacity, pool.capacity))
            return x

        return touch

    def _pushes(self, now: SlotPass, trees: Sequence[ScoreTree], slots: Sequence[CacheSlot]) -> Touches:
        if all(slot.steering is None for slot in slots):
            return NOWHERE
        sizes = [(slot.row - now.lo, len(tree), slot.steering) for tree, slot in zip(trees, slots, strict=True)]
        return pushes(now, sizes, padded=self.fast is None)

    def _call(self, now: SlotPass, module: Any) -> Any:
        return module(
            input_ids=now.tokens.to(self.model.device),
            position_ids=now.positions,
            attention_mask=self._placeholder,
            use_cache=True,
            slot_pass=now,
            **{self._cache_name: now.pool.cache},
        )


def _both(first: Touch | None, then: Touch) -> Touch:
    return then if first is None else lambda x: then(first(x))


def _shown(show: Callable[[Tensor], None]) -> Callable[[Tensor], Tensor]:
    """A touch that changes nothing; a pass may go on in the same memory, so what is shown is a copy."""

    def touch(x: Tensor) -> Tensor:
        show(x.clone())
        return x

    return touch
