"""What a slot keeps of the beginning of its text where it does not keep all of it.

A slot's row holds the newest entries as they were written. What was reduced lies outside of the pool, in a
:class:`Past`: of each layer as many entries as somebody (a :class:`Keeper`) wanted to keep, in a form of its own.
Passes read both, past first. A past is never changed, so forks of a slot share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

FOREVER = 1 << 40
"""Tokens that may be written to a slot of which nothing is ever taken away."""


class PastLayer(Protocol):
    """Entries of one layer, the same number for every key head, in the order of their positions."""

    @property
    def count(self) -> int:
        """Entries of each key head."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes that they occupy."""
        ...

    @property
    def positions(self) -> Tensor | None:
        """Positions ``[count]`` in the text where a sliding window may still hide some of them, else None."""
        ...

    def dense(self) -> tuple[Tensor, Tensor]:
        """Keys and values ``[count, kv_heads, head_dim]`` as passes read them, unpacked where they are packed."""
        ...


@dataclass(frozen=True, slots=True)
class Plain:
    """Entries as they were written."""

    keys: Tensor
    values: Tensor
    positions: Tensor | None = None

    @property
    def count(self) -> int:
        """Entries of each key head."""
        return len(self.keys)

    @property
    def nbytes(self) -> int:
        """Bytes of both."""
        return self.keys.nbytes + self.values.nbytes

    def dense(self) -> tuple[Tensor, Tensor]:
        """Both, as they are."""
        return self.keys, self.values


@dataclass(frozen=True, slots=True)
class Past:
    """What is left of a text's first ``length`` tokens, layer by layer; None for layers without keys and values."""

    length: int
    layers: tuple[PastLayer | None, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all layers."""
        return sum(layer.nbytes for layer in self.layers if layer is not None)

    @property
    def longest(self) -> int:
        """Entries of the layer that has most of them."""
        return max((layer.count for layer in self.layers if layer is not None), default=0)


@dataclass(frozen=True, slots=True)
class Attention:
    """How a layer attends: the factor of its products, and the window that limits its view (None: it sees all)."""

    scale: float
    window: int | None = None


@dataclass(frozen=True, slots=True)
class CacheShape:
    """What a token takes in a model's cache. ``windows`` are those of layers that see no further back."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    itemsize: int
    windows: tuple[int, ...] = ()

    @property
    def entry_nbytes(self) -> int:
        """Bytes of one token's entries in one layer."""
        return 2 * self.kv_heads * self.head_dim * self.itemsize

    @property
    def token_nbytes(self) -> int:
        """Bytes of one token's keys and values over all layers."""
        return self.layers * self.entry_nbytes


@dataclass(frozen=True, slots=True)
class Held:
    """A layer's entries when they are to be reduced: first the past's, then those written since.

    ``keys`` and ``values [entries, kv_heads, head_dim]``, ``queries [n, heads, head_dim]`` those of the last n tokens,
    as they met the keys (normed, rotated). ``past`` says how many of the entries are the past's.
    """

    keys: Tensor
    values: Tensor
    queries: Tensor
    past: int
    attention: Attention

    def __len__(self) -> int:
        return len(self.keys)


class Keeper(Protocol):
    """Says, for one slot, when its cache is reduced and to what. Its state is a function of the text alone."""

    looks: int
    """How many of the last tokens' queries it wants to see; 0 for none."""

    @property
    def stop(self) -> int:
        """The length at which the cache must be reduced before anything is written behind it."""
        ...

    @property
    def since(self) -> int:
        """The length at which it was last reduced, 0 before: what was committed before then cannot be gone back to."""
        ...

    def reduce(self, length: int, layers: Sequence[Held | None]) -> Past | None:
        """What to keep of the first ``length`` tokens, which is all there is; None leaves everything as it is.

        Called at :attr:`stop`, which must be further on afterwards.
        """
        ...

    def fork(self) -> Keeper:
        """An independent copy."""
        ...

    def follow(self, told: Any) -> None:
        """Go on with another request's text, which begins alike; what is told is kv.base.Telling."""
        ...

    def restart(self) -> None:
        """Forget everything: the text is written from its beginning once more."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of what it remembers of each entry."""
        ...


class Asked:
    """The queries of the last tokens before a slot's next stop, layer by layer: those that its keeper will look at."""

    def __init__(self) -> None:
        self.layers: list[Tensor] = []
        self.begin = 0
        """Position of the first of these tokens."""

    def __len__(self) -> int:
        return len(self.layers[0]) if self.layers else 0

    def add(self, queries: Sequence[Tensor], rows: Sequence[int], at: int, begin: int) -> None:
        """Note the tokens from position ``at`` on, of those none before ``begin``.

        They are ``rows`` of each layer's ``queries [nodes, heads, head_dim]`` in a pass.
        """
        left = list(rows[max(begin - at, 0) :])
        if not left:
            return
        if not self.layers:
            self.begin = max(begin, at)
        assert self.begin + len(self) == max(begin, at), "tokens between these and the last ones were not noted"
        picked = torch.tensor(left, device=queries[0].device)
        new = [layer.index_select(0, picked) for layer in queries]
        self.layers = [torch.cat(pair) for pair in zip(self.layers, new, strict=True)] if self.layers else new

    def rollback(self, length: int) -> None:
        """Forget the tokens behind the first ``length`` of the text."""
        left = max(length - self.begin, 0)
        if left < len(self):
            self.layers = [layer[:left] for layer in self.layers] if left else []

    def fork(self) -> Asked:
        """An independent copy; tensors are never changed once made."""
        other = Asked()
        other.layers, other.begin = list(self.layers), self.begin
        return other

    @property
    def nbytes(self) -> int:
        """Bytes of all of them."""
        return sum(layer.nbytes for layer in self.layers)
