"""Passes through a model's own cache, for architectures whose state the slot cache cannot hold.

Recurrent states, indexers, compressed keys: whatever Transformers keeps for a sequence is one thing here, the *cache*
after some number of tokens. A pass runs every path of a tree from the slot's cache; each path has a copy. Where a
path was accepted whole, the cache behind it is the slot's new one. Where only a part was, a cache of keys and values
is cropped; a recurrent state cannot be taken back, so the slot keeps the cache from before, and the accepted tokens go
through the next pass once more, below those that it scores. After `_LAG` such tokens they have a pass of their own.
Some architectures are only right token by token (``stepwise``), and some keep no cache at all.
"""

from __future__ import annotations

import copy
import inspect
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache, DynamicIndexedLayer, DynamicLayer

from laconic.errors import UnsupportedModel
from laconic.models.base import Kept, ScoreTree, Slot
from laconic.models.host import Made, cache_name, head_input, module_states, restored
from laconic.models.partial import LayerPlan
from laconic.models.past import Held, Keeper
from laconic.models.past import Past as Reduced
from laconic.models.steering import Touch, Touches, decoder_layers, hooked

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_LAG = 12
"""Accepted tokens that are scored again and again at most before they have a pass of their own."""
_KEPT = 2
"""Earlier caches kept for rollbacks; a rollback beyond them starts from nothing."""


@dataclass(frozen=True, slots=True)
class Past:
    """The model's cache after ``length`` tokens; None where there is none. ``held`` are states kept in modules."""

    length: int
    cache: Any = None
    held: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class _Path:
    """One path of the last pass: nodes of the tree, all tokens up to its end from ``start`` on, and its cache."""

    nodes: tuple[int, ...]
    start: int
    fed: tuple[int, ...]
    past: Past


class OwnSlot:
    """One sequence: its tokens, and the model's cache after some of them; see models.base.Slot."""

    def __init__(self, host: CacheHost) -> None:
        self._host = host
        self.tokens: list[int] = []
        self.past = Past(0)
        self.steering: tuple[Mapping[int, Tensor], int] | None = None
        self.paths: list[_Path] = []
        self.tree: ScoreTree | None = None
        self._earlier: deque[Past] = deque(maxlen=_KEPT)

    @property
    def length(self) -> int:
        """Committed tokens."""
        return len(self.tokens)

    def commit(self, path: Sequence[int]) -> None:
        """Keep these nodes of the last pass."""
        if not path:
            return  # whatever the pass has left in the cache is cut off when it is next used
        assert self.tree is not None, "nothing has been scored"
        self.tokens += [self.tree.tokens[node] for node in path]
        taken = tuple(path)
        run = next(run for run in self.paths if run.nodes[: len(taken)] == taken)
        if run.start != self.past.length or list(run.fed[: self.length - run.start]) != self.tokens[run.start :]:
            return  # the text has been rolled back to before this pass's cache
        beyond = run.start + len(run.fed) - self.length
        if not beyond:
            self.adopt(run.past)
        elif self._host.crops:
            self.adopt(self._host.cropped(run.past, beyond))
        self.paths = []

    def adopt(self, past: Past) -> None:
        """Go on from this cache."""
        if not self._host.keeps:
            return
        if self.past.length and not self._host.crops:
            self._earlier.append(self.past)
        self.past = past

    def rollback(self, count: int) -> None:
        """Forget the last ``count`` tokens."""
        if not 0 <= count <= self.length:
            raise ValueError(f"cannot roll back {count} of {self.length} tokens")
        if not count:
            return
        del self.tokens[self.length - count :]
        self.past = self.before(self.length)
        while self._earlier and self._earlier[-1].length >= self.past.length:
            self._earlier.pop()

    def before(self, length: int) -> Past:
        """The latest cache that has seen no more than ``length`` tokens."""
        if self._host.crops and self.past.cache is not None:
            self._host.cropped(self.past, self.past.cache.get_seq_length() - self.past.length)
        if self.past.length <= length:
            return self.past
        if self._host.crops:
            return self._host.cropped(self._host.copied(self.past), self.past.length - length)
        return next((past for past in reversed(self._earlier) if past.length <= length), Past(0))

    def fork(self) -> OwnSlot:
        """An independent copy."""
        other = self._host.open()
        other.tokens, other.steering = self.tokens.copy(), self.steering
        other.past = self._host.copied(self.before(self.length))
        return other

    def close(self) -> None:
        """Let go of every cache."""
        self._host.slots.remove(self)
        self.past, self.paths = Past(0), []
        self._earlier.clear()

    @property
    def nbytes(self) -> int:
        """Bytes of the caches kept, those for rollbacks included."""
        return sum(tensor.nbytes for past in (self.past, *self._earlier) for tensor in tensors((past.cache, past.held)))


@dataclass(frozen=True, slots=True)
class OwnKept:
    """A text and the model's cache of it, outside of any slot."""

    tokens: tuple[int, ...]
    past: Past

    @property
    def length(self) -> int:
        """Tokens that it covers."""
        return len(self.tokens)

    @property
    def nbytes(self) -> int:
        """Bytes of the cache."""
        return sum(tensor.nbytes for tensor in tensors((self.past.cache, self.past.held)))


class CacheHost:
    """A Transformers model behind its own cache. ``stepwise`` feeds it one token at a time."""

    def __init__(self, model: PreTrainedModel, *, stepwise: bool = False) -> None:
        self.model = model
        self.stepwise = stepwise
        self.slots: list[OwnSlot] = []
        accepted = inspect.signature(model.forward).parameters
        self._name = cache_name(model)
        self._options = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        self._decoder_layers = decoder_layers(model, int(model.config.get_text_config().num_hidden_layers))
        self._holders = _holders(model)
        self._brings = False
        """Whether the cache is made here: some models fill one that they are given and do not return it."""
        made = self._call(Past(0), [0, 1])[1].cache
        if made is None and self._name == "past_key_values":
            self._brings = True
            made = self._call(Past(0), [0, 1])[1].cache
            if not made.get_seq_length():  # it was not filled either
                self._brings, made = False, None
        self.keeps = made is not None
        """Whether the model keeps a cache at all."""
        self.crops = not self._holders and type(made) in (Cache, DynamicCache) and all(
            type(layer) in (DynamicLayer, DynamicIndexedLayer) for layer in made.layers
        )  # fmt: skip
        """Whether its cache is one of keys and values alone, from which later tokens can be cut off."""

    @property
    def path(self) -> str:
        """How passes are made."""
        if not self.keeps:
            return "recomputed"
        return "own cache, stepwise" if self.stepwise else "own cache" if self.crops else "own cache, replayed"

    @property
    def drafts(self) -> bool:
        """Whether a pass over several tokens is cheaper than as many passes."""
        return not self.stepwise

    @property
    def forgets(self) -> bool:
        """Never: what the model keeps is its own."""
        return False

    def hold(self, slot: Slot, keeper: Keeper) -> None:
        """Not here; see Host."""
        raise UnsupportedModel("a model's own cache cannot be reduced.", "Use it without a kv method.")

    @property
    def views(self) -> bool:
        """Never, either."""
        return False

    def look(self, slot: Slot, tokens: Sequence[int]) -> list[Held | None]:
        """Not here; see Host."""
        raise UnsupportedModel("a model's own cache shows no entries.", "Use it without views.")

    def view(self, past: Reduced) -> Slot:
        """Not here; see Host."""
        raise UnsupportedModel("a model's own cache has no views.", "Use it without them.")

    def follow(self, view: Slot, slot: Slot) -> bool:
        """Not here; see Host."""
        return False

    def holds(self, slot: Slot) -> Keeper | None:
        """Nobody does."""
        return None

    @property
    def even(self) -> bool:
        """Token by token, every pass has one shape; otherwise Transformers decides the order of its sums."""
        return self.stepwise

    def open(self) -> OwnSlot:
        """A new, empty slot."""
        slot = OwnSlot(self)
        self.slots.append(slot)
        return slot

    @property
    def resumes(self) -> bool:
        """Where there are keys and values alone."""
        return self.crops

    @property
    def shows_layers(self) -> bool:
        """Never: what was put out would have to follow the cache's crops and copies."""
        return False

    def show(self, layers: Sequence[int]) -> None:
        """Not here; see Host. Raises UnsupportedModel."""
        raise UnsupportedModel("outputs of layers are kept beside slots alone, and this model keeps its own cache.")

    def shown(self, slot: Slot, begin: int, layers: Sequence[int]) -> Tensor | None:
        """Nothing is kept; see Host."""
        return None

    @property
    def runs_parts(self) -> bool:
        """Never: the cache would be left with entries of some layers only."""
        return False

    @property
    def runs_halves(self) -> bool:
        """Never, either."""
        return False

    def partly(self, plan: LayerPlan, at_end: Touch | None) -> AbstractContextManager[None]:
        """Not here; see Host. Raises UnsupportedModel."""
        raise UnsupportedModel("part of the layers run over slots alone, and this model keeps its own cache.")

    def through(self, slot: Slot, tree: ScoreTree, after: Touches) -> None:
        """Not here; see Host. Raises UnsupportedModel."""
        raise UnsupportedModel("layers are touched over slots alone, and this model keeps its own cache.")

    def shrink(self) -> None:
        """Nothing to do: each slot has a cache of its own."""

    def keep(self, slot: Slot) -> OwnKept:
        """A copy of a slot's cache; see Host."""
        mine = cast("OwnSlot", slot)
        return OwnKept(tuple(mine.tokens), self.copied(mine.before(mine.length)))

    def resume(self, kept: Kept, length: int) -> OwnSlot:
        """A slot that begins with a copy of it; see Host."""
        mine = cast("OwnKept", kept)
        if not 0 <= length <= mine.length:
            raise ValueError(f"cannot resume {length} of {mine.length} tokens")
        slot = self.open()
        slot.tokens, slot.past = list(mine.tokens[:length]), self.copied(mine.past)
        slot.past = slot.before(length)
        return slot

    def steer(self, slot: Slot, vectors: Mapping[int, Tensor], start: int) -> None:
        """Push a slot's residual stream; see Host."""
        cast("OwnSlot", slot).steering = (vectors, start) if vectors else None

    def prefill(self, slot: Slot, tokens: Sequence[int]) -> None:
        """Commit ``tokens``; see Host."""
        self._commit(cast("OwnSlot", slot), tokens, {})

    def watch(self, slot: Slot, tokens: Sequence[int], see: Mapping[int, Callable[[Tensor], None]]) -> None:
        """Commit ``tokens`` and show layers' outputs; see Host."""
        self._commit(cast("OwnSlot", slot), tokens, see)

    def score(self, trees: Sequence[ScoreTree], slots: Sequence[Slot], *, hidden: bool) -> Made:
        """Every path of every tree, one after the other; see Host."""
        starts, logits, states = [], [], []
        total = 0
        for tree, slot in zip(trees, cast("Sequence[OwnSlot]", slots), strict=True):
            rows, seen = self._score(tree, slot, hidden)
            starts.append(total)
            total += len(tree)
            logits.append(rows)
            states += [] if seen is None else [seen]
        return Made(torch.cat(logits), torch.cat(states) if states else None, starts)

    def _score(self, tree: ScoreTree, slot: OwnSlot, hidden: bool) -> tuple[Tensor, Tensor | None]:
        """Logits and hidden states of one slot's nodes."""
        self._catch_up(slot)
        slot.tree, slot.paths = tree, []
        rows: list[Tensor | None] = [None] * len(tree)
        states: list[Tensor | None] = [None] * len(tree)
        ways = tree.ways()
        for last, nodes in enumerate(ways, start=1 - len(ways)):
            base = tree.bases[nodes[0]] if tree.bases and tree.bases[nodes[0]] >= 0 else slot.length
            past = slot.before(base)
            fed = [*slot.tokens[past.length : base], *(tree.tokens[node] for node in nodes)]
            # A cache of keys and values is only ever added to, so the last path may have the slot's own.
            mine = past if self.crops and not last and past is slot.past else self.copied(past)
            out, after, seen = self._run(mine, fed, slot.steering, hidden=hidden, rows=len(nodes))
            slot.paths.append(_Path(tuple(nodes), past.length, tuple(fed), after))
            for at, node in enumerate(nodes):
                if rows[node] is None:
                    rows[node], states[node] = out[at], None if seen is None else seen[at]
        shown = torch.stack([state for state in states if state is not None]) if hidden else None
        return torch.stack([row for row in rows if row is not None]), shown

    def _catch_up(self, slot: OwnSlot) -> None:
        """Give accepted tokens that the slot's cache has not seen a pass of their own, once they are many."""
        behind = slot.tokens[slot.past.length :]
        if self.keeps and len(behind) > _LAG:
            slot.adopt(self._run(self.copied(slot.before(slot.length)), behind, slot.steering)[1])

    def _commit(self, slot: OwnSlot, tokens: Sequence[int], see: Mapping[int, Callable[[Tensor], None]]) -> None:
        fed = [*slot.tokens[slot.past.length :], *tokens]
        slot.tokens += tokens
        if self.keeps or see:
            past = self.copied(slot.before(slot.length))
            slot.adopt(self._run(past, fed, slot.steering, see=_last(see, len(tokens)))[1])

    def _run(
        self,
        past: Past,
        tokens: Sequence[int],
        steering: tuple[Mapping[int, Tensor], int] | None,
        *,
        see: Mapping[int, Callable[[Tensor], None]] | None = None,
        hidden: bool = False,
        rows: int = 0,
    ) -> tuple[Tensor, Past, Tensor | None]:
        """Feed ``tokens`` behind ``past``, which is changed: logits and hidden states of the last ``rows``, and the
        cache after them."""
        if not self.stepwise or not self.keeps:
            return self._call(past, tokens, steering, see=see, hidden=hidden, rows=rows)
        logits, states = [], []
        for token in tokens:
            out, past, seen = self._call(past, [token], steering, see=see, hidden=hidden, rows=1)
            logits.append(out)
            states += [] if seen is None else [seen]
        return torch.cat(logits)[-rows:], past, torch.cat(states)[-rows:] if states else None

    @torch.inference_mode()
    def _call(
        self,
        past: Past,
        tokens: Sequence[int],
        steering: tuple[Mapping[int, Tensor], int] | None = None,
        *,
        see: Mapping[int, Callable[[Tensor], None]] | None = None,
        hidden: bool = False,
        rows: int = 0,
    ) -> tuple[Tensor, Past, Tensor | None]:
        given: dict[str, Any] = {"input_ids": torch.tensor([list(tokens)], device=self.model.device)}
        before = None
        if self._name is not None:
            before = DynamicCache(config=self.model.config) if self._brings and past.cache is None else past.cache
            given |= {self._name: before, "use_cache": True}
        keep = {"logits_to_keep": max(rows, 1)} if self._options else {}
        touches = _touches(steering, see or {}, past.length, len(tokens))
        self._hold(past.held)
        with hooked(self._decoder_layers, touches, (1, len(tokens))):
            out, seen = head_input(self.model, lambda: self.model(**given, **keep), hidden)
        held = tuple(getattr(module, name) for module, name, _ in self._holders)
        self._hold(())  # nothing of a sequence stays behind in the model
        cache = before if self._brings else getattr(out, self._name or "", None)
        after = Past(past.length + len(tokens), cache, held)
        shown = None if seen is None else seen[0].reshape(-1, seen.shape[-1])[-rows:]
        return out.logits[0, -max(rows, 1) :], after, shown

    def _hold(self, held: tuple[Any, ...]) -> None:
        """Put a sequence's states into the modules that keep them."""
        for at, (module, name, empty) in enumerate(self._holders):
            setattr(module, name, held[at] if held else empty)

    def copied(self, past: Past) -> Past:
        """A cache of its own."""
        return past if past.cache is None and not past.held else copy.deepcopy(past)

    def cropped(self, past: Past, count: int) -> Past:
        """The cache without its last ``count`` tokens; it is changed in place. Only where ``crops`` says so."""
        if count:
            past.cache.crop(-count)
        return Past(past.length - count, past.cache)


def tensors(thing: Any, known: set[int] | None = None) -> Iterator[Tensor]:
    """Every tensor that a cache holds, each once."""
    known = set() if known is None else known
    if thing is None or isinstance(thing, (int, float, str, bool, torch.dtype, torch.device)) or id(thing) in known:
        return
    known.add(id(thing))
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, Mapping):
        for inner in thing.values():
            yield from tensors(inner, known)
    elif isinstance(thing, (list, tuple)):
        for inner in thing:
            yield from tensors(inner, known)
    elif type(thing).__module__.startswith("transformers") and not isinstance(thing, nn.Module):
        yield from tensors({k: v for k, v in vars(thing).items() if "config" not in k}, known)


def _touches(
    steering: tuple[Mapping[int, Tensor], int] | None,
    see: Mapping[int, Callable[[Tensor], None]],
    begun: int,
    count: int,
) -> Touches:
    """What a pass over positions ``begun`` and on does behind its layers."""
    if steering is None:
        return {layer: _seen(show) for layer, show in see.items()}
    vectors, start = steering
    first = max(start - begun, 0)
    return {layer: _pushed(vector, first) for layer, vector in vectors.items()} if first < count else {}


def _seen(show: Callable[[Tensor], None]) -> Callable[[Tensor], Tensor]:
    def touch(x: Tensor) -> Tensor:
        show(x.clone())
        return x

    return touch


def _pushed(vector: Tensor, first: int) -> Callable[[Tensor], Tensor]:
    def touch(x: Tensor) -> Tensor:
        x[first:] += vector
        return x

    return touch


def _last(see: Mapping[int, Callable[[Tensor], None]], count: int) -> dict[int, Callable[[Tensor], None]]:
    """The same, shown the last ``count`` tokens of a pass alone."""
    return {layer: lambda x, show=show: show(x[-count:]) for layer, show in see.items()}  # type: ignore[misc]


@torch.inference_mode()
def _holders(model: PreTrainedModel) -> list[tuple[nn.Module, str, Any]]:
    """Modules of a model, names in them that hold the state of the sequence read last, and what they hold at first."""
    before = module_states(model)
    with restored(model):
        model(input_ids=torch.tensor([[0, 1, 2]], device=model.device))
        after = module_states(model)
    return [(*key, value) for key, value in before.items() if after[key] is not value]
