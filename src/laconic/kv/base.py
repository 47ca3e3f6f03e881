"""The contract of kv policies: who says, request by request, what of the past stays in the target's cache.

A cache is reduced at *stops*, which are places in the text: nothing is written across one before that is done. So
what is kept is a function of the text alone, whatever was drafted, probed or batched on the way, and a request writes
under speculation what it would have written token by token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor

from laconic.errors import InvalidKnob, UnmetNeed
from laconic.kv.stored import Stored
from laconic.models.base import Forgets, LanguageModel
from laconic.models.four_bits import FourBits
from laconic.models.past import Attention, CacheShape, Held, Keeper, Past, PastLayer
from laconic.models.text import Text
from laconic.policy import Policy


@dataclass(frozen=True, slots=True)
class Telling:
    """What a policy is told of a request: its tokens, which grow as it writes, and how many of them are the prompt."""

    tokens: Sequence[int]
    prompt: int
    text: Text | None


def reducible(target: LanguageModel, name: str) -> Forgets:
    """The target, as one whose cache policy ``name`` can reduce. Raises UnmetNeed where part of it is not enough."""
    if not isinstance(target, Forgets) or not target.forgets:
        raise UnmetNeed(
            f"'{name}' keeps part of the cache, which this model's passes cannot do without the rest.",
            "Use it with a model that runs on laconic's slot cache; `laconic inspect` names the path.",
        )
    return target


class KV(Policy):
    """Base of the family."""

    def start(self, told: Telling) -> Keeper | None:
        """Who keeps one request's cache; None where all of it stays. Raises RequestError where it cannot be kept so."""
        raise NotImplementedError

    @property
    def looks(self) -> int:
        """How many of the last tokens' queries it wants to see; 0 for none."""
        return 0

    def takes(self, length: int) -> bool:
        """Whether it would take anything away from a text of so many tokens."""
        raise NotImplementedError

    def view(self, told: Telling, held: Sequence[Held | None], length: int) -> Past | None:
        """What it would keep of a text of ``length`` tokens that has been read whole; None where that is all of it."""
        raise NotImplementedError

    @property
    def most(self) -> int | None:
        """Entries beyond which no key head goes, on average over the layers, not while a prompt is read either.

        None where there is no such number.
        """
        return None

    def within(self, nbytes: int, shape: CacheShape) -> KV:
        """The same policy with a cache of ``nbytes`` at most, from the first token that is read to the last.

        Raises InvalidKnob where that is too little for what it never gives up, or where it takes nothing away.
        """
        raise InvalidKnob(
            f"'{self.name}' keeps all entries, so it cannot keep to a budget of bytes.",
            "Use one that takes entries away, e.g. snapkv.",
        )


@dataclass
class Layer:
    """A layer's entries when a cache is to be reduced, as scorers see them.

    ``keys``, ``values [entries, kv_heads, head_dim]``; ``queries [n, heads, head_dim]`` those of the last n tokens;
    ``positions [entries, kv_heads]`` where in the text each entry was written, in rising order; ``length`` that of the
    text. ``memory`` holds what a scorer has noted of each entry, ``[entries, kv_heads]`` under a name of its own: 0 of
    those that are new. ``shared`` is one for all layers of a reduction: what is the same for all is worked out once.
    """

    index: int
    keys: Tensor
    values: Tensor
    queries: Tensor
    positions: Tensor
    length: int
    attention: Attention
    told: Telling
    memory: dict[str, Tensor] = field(default_factory=dict)
    shared: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def asked_at(self) -> Tensor:
        """Positions ``[n]`` of the tokens whose queries are here."""
        return torch.arange(self.length - len(self.queries), self.length, device=self.positions.device)

    @cached_property
    def weights(self) -> Tensor:
        """What each of these queries attends to, ``[kv_heads, heads / kv_heads, n, entries]``, in float32.

        The softmax of its scaled products with the entries up to its own position.
        """
        kv_heads = self.keys.shape[1]
        count, heads, dim = self.queries.shape
        q = self.queries.float().view(count, kv_heads, heads // kv_heads, dim).permute(1, 2, 0, 3)
        products = q @ self.keys.float().permute(1, 2, 0)[:, None] * self.attention.scale
        later = self.positions.T[:, None, None, :] > self.asked_at[:, None]
        return torch.softmax(products.masked_fill_(later, -torch.inf), -1)

    def forget(self) -> None:
        """Let go of :attr:`weights`, which take more than the entries themselves."""
        self.__dict__.pop("weights", None)

    def noted(self, name: str) -> Tensor:
        """What is noted of each entry under ``name``, ``[entries, kv_heads]``, to be changed in place."""
        if name not in self.memory:
            self.memory[name] = torch.zeros(self.positions.shape, device=self.positions.device)
        return self.memory[name]


class Allocator(Policy):
    """How many entries each layer may keep of what all of them may."""

    def shares(self, total: int, scores: Sequence[Tensor], least: int) -> list[int]:
        """Entries of each key head to keep in each layer: ``total`` of them in all, or all there are.

        ``scores[l] [entries, kv_heads]`` are the layers' own (inf: kept in any case), larger for what shall stay. No
        layer gets fewer than ``least``, or more than it has.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Parting:
    """What of a layer stays when its cache is reduced, for a merger to fold the rest into.

    ``stays [kept, kv_heads]`` are places among the layer's entries, in rising order, as many for every head; ``scores
    [entries, kv_heads]`` those by which they were chosen (inf: kept in any case). ``layer.queries`` are as many as
    somebody wanted to see. ``state`` is the merger's own for this layer and text, from one reduction to the next: its
    tensors are replaced, never changed, since copies of a request share them.
    """

    layer: Layer
    scores: Tensor
    stays: Tensor
    state: dict[str, Tensor]

    @cached_property
    def goes(self) -> Tensor:
        """Places ``[gone, kv_heads]`` of the entries that do not stay, in rising order."""
        gone = torch.ones(self.scores.shape, dtype=torch.bool, device=self.stays.device).scatter_(0, self.stays, False)
        heads = gone.shape[1]
        return gone.T.nonzero()[:, 1].view(heads, len(gone) - len(self.stays)).T

    def keys(self, places: Tensor) -> Tensor:
        """Keys ``[places, kv_heads, head_dim]`` of entries, as they are."""
        return self.layer.keys.gather(0, places[:, :, None].expand(-1, -1, self.layer.keys.shape[-1]))

    def values(self, places: Tensor) -> Tensor:
        """Values ``[places, kv_heads, head_dim]`` of entries, as they are."""
        return self.layer.values.gather(0, places[:, :, None].expand(-1, -1, self.layer.values.shape[-1]))


class Merger(Policy):
    """What becomes of the entries that an evictor takes away."""

    @property
    def looks(self) -> int:
        """How many of the last tokens' queries it wants to see; 0 for none."""
        return 0

    @property
    def notes(self) -> int:
        """Numbers that it remembers of each layer and key head from one reduction to the next."""
        return 0

    def merged(self, parting: Parting) -> tuple[Tensor, Tensor]:
        """Keys and values ``[kept, kv_heads, head_dim]`` of what stays, in the number format of the layer's.

        Asked where something goes.
        """
        raise NotImplementedError


class Codec(Policy):
    """How entries are stored in fewer bytes."""

    def encode(self, keys: Tensor, values: Tensor) -> PastLayer:
        """``keys`` and ``values [entries, kv_heads, head_dim]`` of whole groups of 64 entries in a row, stored."""
        raise NotImplementedError

    def joined(self, parts: Sequence[PastLayer]) -> PastLayer:
        """What it has stored in parts, one behind the other."""
        kind = type(parts[0])
        if kind is FourBits:
            return FourBits.joined(cast("Sequence[FourBits]", parts))
        return Stored.joined(cast("Sequence[Stored]", parts))


def fitted(wanted: Sequence[float], total: int, most: Sequence[int], least: int) -> list[int]:
    """Whole numbers near ``wanted`` that sum up to ``total``, each from ``least`` to its own ``most``.

    Where the bounds leave no such numbers they sum up to what the bounds allow. The remainder goes to the largest
    fractions, the first of equals.
    """
    floor = [min(least, top) for top in most]
    left = float(max(min(total, sum(most)) - sum(floor), 0))
    shares = list(map(float, floor))
    weights = [max(wish - low, 0.0) for wish, low in zip(wanted, floor, strict=True)]
    while left > 1e-6:
        open_ = [i for i, top in enumerate(most) if shares[i] < top - 1e-9]
        weight = sum(weights[i] for i in open_)
        given: float = 0.0
        for i in open_:
            part = left * weights[i] / weight if weight > 0 else left / len(open_)
            part = min(part, most[i] - shares[i])
            shares[i] += part
            given += part
        left -= given
    whole = [int(share + 1e-6) for share in shares]
    missing = min(total, sum(most)) - sum(whole)
    for i in sorted(range(len(whole)), key=lambda i: whole[i] - shares[i])[: max(missing, 0)]:
        whole[i] += whole[i] < most[i]
    return whole
