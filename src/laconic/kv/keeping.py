"""Eviction: what it keeps, when, and what is shared by all methods that give each entry a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor

from laconic.errors import InvalidKnob
from laconic.kv.base import KV, Allocator, Layer, Merger, Parting, Telling
from laconic.models.past import FOREVER, CacheShape, Held, Past, PastLayer, Plain
from laconic.policy import Family, Needs, knobs, registry

_CHUNK = 256
"""Tokens by which a prompt that is reduced while it is read is read at a time, if the budget allows."""


def _uniform() -> Allocator:
    return cast(Allocator, registry.build("allocator", "uniform"))


def _drop() -> Merger:
    return cast(Merger, registry.build("merger", "drop"))


@knobs
class Evicting(KV):
    """Entries with a score; those with the lowest ones go. Subclasses say what the score is."""

    parts: ClassVar[Mapping[str, Family]] = {"layers": "allocator", "merge": "merger"}
    needs = Needs(reducible_cache=True)

    budget: Annotated[float, Field(gt=0, allow_inf_nan=False, kw_only=True)] = 1024
    """Entries that each key head may have, on average over the layers; below 1, the share of the text that stays."""
    every: Annotated[int, Field(ge=0, kw_only=True)] = 64
    """Tokens written between two reductions, within the budget; 0 reduces the prompt alone, once it is read."""
    sinks: Annotated[int, Field(ge=0, kw_only=True)] = 4
    """First tokens of the text, which always stay: attention rests on them when it has nothing to look for."""
    recent: Annotated[int, Field(ge=0, kw_only=True)] = 32
    """Last tokens, which always stay."""
    stepwise: Annotated[bool, Field(kw_only=True)] = False
    """Keep to the budget while the prompt is read, too, rather than read it whole and reduce it then."""
    layers: Allocator = Field(default_factory=_uniform, kw_only=True)
    """How layers share the budget."""
    merge: Merger = Field(default_factory=_drop, kw_only=True)
    """What becomes of the entries that go."""

    def __post_init__(self) -> None:
        if self.budget >= 1 and self.budget - self.every <= self.least:
            raise InvalidKnob(
                f"'{self.name}': a budget of {self.budget:g} leaves nothing to choose beside {self.sinks} sinks, "
                f"{self.recent} recent tokens and {self.every} between reductions.",
                "Give it a larger budget, or make these smaller.",
            )

    @property
    def least(self) -> int:
        """Entries of each head that are never given up."""
        return self.sinks + self.recent

    @property
    def reads(self) -> int:
        """How many of the last tokens' queries the score is made of; 0 for none."""
        return 0

    @property
    def looks(self) -> int:
        """The score's queries, or the merger's, whichever are more."""
        return max(self.reads, self.merge.looks)

    @property
    def follows(self) -> bool:
        """Whether the queries of all tokens must be seen, so that the cache is looked at after every ``reads``."""
        return False

    def score(self, layer: Layer) -> Tensor:
        """The score of each entry, ``[entries, kv_heads]``: the larger, the sooner it stays."""
        raise NotImplementedError

    @property
    def notes(self) -> int:
        """Numbers that are noted of each entry and key head between reductions."""
        return 0

    @property
    def most(self) -> int | None:
        """The budget, where it holds from the first token on."""
        return int(self.budget) if self.stepwise and self.budget >= 1 and self.every else None

    def within(self, nbytes: int, shape: CacheShape) -> Evicting:
        """The same within ``nbytes``, positions and notes of entries and the queries that are looked at among them.

        Layers with a sliding window hold as many entries as others until the first reduction, then what they see of the
        text; they are counted with whichever is more. A smaller budget of entries stays.
        """
        if not self.every:
            raise InvalidKnob(
                f"'{self.name}' with every=0 reduces the prompt alone, which keeps to no budget of bytes.",
                "Leave every out.",
            )
        each = shape.entry_nbytes + 4 * shape.kv_heads * (1 + self.notes)
        asked = self.looks * shape.heads * shape.head_dim * shape.itemsize * shape.layers
        spare = self.every + _CHUNK  # what a layer with a window may hold beyond it until the next reduction
        asked += 4 * self.merge.notes * shape.kv_heads * shape.layers
        entries = (nbytes - asked) // (each * shape.layers)
        for _ in shape.windows:  # layers whose window is longer than that take their part first
            longer = [window + spare for window in shape.windows if window + spare > entries]
            others = shape.layers - len(longer)
            entries = min(entries, (nbytes - asked - sum(longer) * each) // (each * others)) if others else 0
        whole = len(shape.windows) == shape.layers
        if whole and asked + sum(window + spare for window in shape.windows) * each <= nbytes:
            return replace(self, budget=float(max(spare, self.least + self.every + 1)), stepwise=True)
        if entries - self.every <= self.least:
            raise InvalidKnob(
                f"'{self.name}' cannot keep to {nbytes / 2**20:.1f} MiB of cache: that is {max(entries, 0)} entries a "
                f"head, and {self.least + self.every + 1} are needed.",
                "Give it more, or make sinks, recent and every smaller.",
            )
        return replace(self, budget=float(min(entries, self.budget if self.budget >= 1 else entries)), stepwise=True)

    def start(self, told: Telling) -> Evictor:
        """The keeper of one request."""
        return Evictor(self, told)

    def takes(self, length: int) -> bool:
        """Whether the budget is smaller."""
        return length > (self.budget if self.budget >= 1 else self.least + 1)

    def view(self, told: Telling, held: Sequence[Held | None], length: int) -> Past | None:
        """What would stay of a prompt of this length; None where the budget holds all of it."""
        whole = replace(self, stepwise=False)
        return Evictor(whole, replace(told, prompt=length + 1)).reduce(length, held)


def coarse(score: Tensor) -> Tensor:
    """Scores to twelve binary digits. Passes of other widths round the rest otherwise, and equal ones must stay so.

    In the first layer every entry of one token has a key of one length; which of them stays is then for their order to
    say, the first ones first.
    """
    return ((score.contiguous().view(torch.int32) + 0x400) & ~0x7FF).view(torch.float32)


class Evictor:
    """Keeps one request's cache as an :class:`Evicting` policy has it."""

    def __init__(self, policy: Evicting, told: Telling) -> None:
        self._policy, self._told = policy, told
        self.looks = policy.looks
        self.restart()

    def restart(self) -> None:
        """Nothing is written yet."""
        self.since = self._covered = 0
        self._positions: list[Tensor | None] = []
        """Of the past's entries, layer by layer; tokens behind the ``_covered`` that it stands for have one each."""
        self._memory: list[dict[str, Tensor]] = []
        self._merging: list[dict[str, Tensor]] = []
        """What the merger remembers, layer by layer."""
        self._look_on(0.0)

    def fork(self) -> Evictor:
        """An independent copy; what is noted is never changed between two stops."""
        other = Evictor(self._policy, self._told)
        other.since, other._covered, other.stop, other._full = self.since, self._covered, self.stop, self._full
        other._positions, other._memory = list(self._positions), [dict(noted) for noted in self._memory]
        other._merging = [dict(state) for state in self._merging]
        return other

    def follow(self, told: Telling) -> None:
        """Go on with another request's text, which begins alike."""
        self._told = told

    @property
    def nbytes(self) -> int:
        """Bytes of positions and of what score and merger have noted."""
        noted = sum(tensor.nbytes for memory in (*self._memory, *self._merging) for tensor in memory.values())
        return noted + sum(tensor.nbytes for tensor in self._positions if tensor is not None)

    @property
    def _prompt(self) -> int:
        """Tokens that are read before the first one is written."""
        return max(self._told.prompt - 1, 1)

    def _look_on(self, entries: float) -> None:
        """Say where the cache is looked at next and where it is full; each head now has ``entries`` on average."""
        self._full = self._fills(self.since, entries)
        follows = self._policy.follows and self._full < FOREVER
        self.stop = min(self._full, self.since + self._policy.reads) if follows else self._full

    def _fills(self, length: int, entries: float) -> int:
        """The length at which the cache must be reduced next."""
        policy, prompt = self._policy, self._prompt
        reading, ends = length < prompt, not policy.every
        if reading and not policy.stepwise and (policy.budget < 1 or prompt > policy.budget):
            return prompt
        if ends and (not reading or not policy.stepwise):
            return FOREVER
        if policy.budget >= 1:
            return length + max(int(policy.budget - entries), 1)
        return min(length + _CHUNK, prompt) if reading else length + policy.every

    def _goal(self, length: int) -> int:
        """Entries that each head shall have, on average, after a reduction at ``length``."""
        policy = self._policy
        if policy.budget < 1:
            return max(int(policy.budget * length), policy.least + 1)
        space = policy.every
        if length < self._prompt:  # in larger steps while the prompt is read
            space = max(space, min(_CHUNK, int(policy.budget - policy.least) // 2))
        return int(policy.budget) - space

    def reduce(self, length: int, layers: Sequence[Held | None]) -> Past | None:
        """What stays of the first ``length`` tokens; see Keeper."""
        shared: dict[str, Any] = {}
        mine = [None if held is None else self._layer(index, length, held, shared) for index, held in enumerate(layers)]
        free = [layer for layer in mine if layer is not None and layer.attention.window is None]
        scores = []
        for layer in free:
            scores.append(self._policy.score(layer).float())
            layer.forget()
        entries = sum(map(len, free)) / max(len(free), 1)
        full, self.since = length >= self._full, length
        beyond = any(layer is not None and len(layer) > (layer.attention.window or FOREVER) for layer in mine)
        if not full or (entries <= self._goal(length) and not beyond):
            self._memory = [{} if layer is None else layer.memory for layer in mine]
            if full:
                self._look_on(entries)
            else:
                self.stop = min(self._full, length + self._policy.reads)
            return None
        for layer, score in zip(free, scores, strict=True):
            stays = (layer.positions < self._policy.sinks) | (layer.positions >= length - self._policy.recent)
            score.masked_fill_(stays, torch.inf)
        total = self._goal(length) * len(free)
        shares = self._policy.layers.shares(total, scores, self._policy.least)
        best = {
            layer.index: (score, coarse(score).sort(dim=0, descending=True, stable=True).indices[:share].sort(0).values)
            for layer, score, share in zip(free, scores, shares, strict=True)
        }
        self._merging += [{} for _ in layers[len(self._merging) :]]
        kept = [
            None
            if layer is None or held is None
            else self._left(replace(layer, queries=held.queries), best.get(layer.index))
            for layer, held in zip(mine, layers, strict=True)
        ]
        self._covered = length
        self._look_on(sum(shares) / max(len(free), 1))
        return Past(length, tuple(kept))

    def _layer(self, index: int, length: int, held: Held, shared: dict[str, Any]) -> Layer:
        """A layer as scorers see it."""
        heads = held.keys.shape[1]
        own = torch.arange(self._covered, length, dtype=torch.int32, device=held.keys.device)[:, None].expand(-1, heads)
        before = self._positions[index] if self._positions else None
        positions = own.contiguous() if before is None else torch.cat([before, own])
        memory = self._memory[index] if self._memory else {}
        memory = {
            name: torch.cat([noted, noted.new_zeros(len(held) - len(noted), heads)]) for name, noted in memory.items()
        }
        told = length, held.attention, self._told
        queries = held.queries[max(len(held.queries) - self._policy.reads, 0) :]
        return Layer(index, held.keys, held.values, queries, positions, *told, memory, shared)

    def _left(self, layer: Layer, best: tuple[Tensor, Tensor] | None) -> PastLayer:
        """What is left of a layer whose scores and places of the best ``[kept, kv_heads]`` are given.

        Of one with a sliding window, which has none of them, the entries in view.
        """
        while len(self._positions) <= layer.index:
            self._positions.append(None)
            self._memory.append({})
        if best is None:
            window = layer.attention.window
            assert window is not None
            first = int((layer.positions[:, 0] > layer.length - window).int().argmax())
            self._positions[layer.index] = layer.positions[first:].clone()
            return Plain(layer.keys[first:].clone(), layer.values[first:].clone(), layer.positions[first:, 0].long())
        scores, stays = best
        self._positions[layer.index] = layer.positions.gather(0, stays)
        self._memory[layer.index] = {name: noted.gather(0, stays) for name, noted in layer.memory.items()}
        parting = Parting(layer, scores, stays, self._merging[layer.index])
        if len(stays) == len(layer):  # of this layer nothing goes
            return Plain(parting.keys(stays), parting.values(stays))
        return Plain(*self._policy.merge.merged(parting))
