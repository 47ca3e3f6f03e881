"""Bytes that speculation takes: weights and caches of both models, draft buffers, logits; and what draft fits in them.

Source: the memory model of "SpecMemo: Speculative Decoding is in Your Pocket", with laconic's own buffers: a draft of n
tokens for each of b requests after L committed tokens scores b (n + 1) nodes, whose keys and values lie in both caches
until they are dropped, whose logits are kept until the draft is verified, and of which each may see L + n + 1 others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from laconic.bench.cost.anatomy import Anatomy
from laconic.errors import RequestError

_MOST = 1 << 16
"""Longest draft that is looked for."""
_INDEX = 8
"""Bytes of a position, a token id or a place in the cache."""


@dataclass(frozen=True, slots=True)
class Size:
    """One model in bytes: ``weights`` in total, ``entry`` that one token adds to the cache, one row of ``logits``."""

    weights: float
    entry: float
    logits: float = 0.0

    @staticmethod
    def of(anatomy: Anatomy, vocab_size: int, *, weight_bytes: float = 2.0, cache_bytes: float = 2.0,
           logit_bytes: float = 4.0) -> Size:  # fmt: skip
        """From a model's parts; a number takes so many bytes of each kind."""
        entry = len(anatomy.windows) * anatomy.cache_width * cache_bytes
        return Size(anatomy.parameters * weight_bytes, entry, vocab_size * logit_bytes)


@dataclass(frozen=True, slots=True)
class Memory:
    """What a server with these models takes; ``draft`` is None without a draft model."""

    target: Size
    draft: Size | None = None

    @property
    def weights(self) -> float:
        """Bytes of all weights."""
        return self.target.weights + (self.draft.weights if self.draft else 0.0)

    @property
    def entry(self) -> float:
        """Bytes of one token in the caches of both models."""
        return self.target.entry + (self.draft.entry if self.draft else 0.0)

    def buffers(self, batch: int, budget: int, length: int) -> float:
        """Bytes beyond weights and committed text for one pass: drafts of ``budget`` tokens for ``batch`` requests.

        ``length`` is the longest committed text. Caches of the nodes, their logits (the target's for every node, the
        draft model's for every drafted token), ids, parents, positions and places, and the mask, a byte a pair.
        """
        nodes = batch * (budget + 1)
        caches = nodes * self.target.entry + (batch * budget * self.draft.entry if self.draft else 0.0)
        logits = nodes * self.target.logits + (batch * budget * self.draft.logits if self.draft else 0.0)
        return caches + logits + nodes * (4 * _INDEX + length + budget + 1)

    def bytes(self, lengths: Sequence[int], budget: int) -> float:
        """All bytes while requests of these committed lengths draft at most ``budget`` tokens each."""
        if not lengths:
            return self.weights
        return self.weights + sum(lengths) * self.entry + self.buffers(len(lengths), budget, max(lengths))

    def largest_budget(self, bound: float, lengths: Sequence[int], most: int = _MOST) -> int | None:
        """The longest draft for each of these requests, at most ``most``, under ``bound`` bytes.

        0 means that plain decoding alone fits, None that not even that does. Raises RequestError for a bound that is
        not positive.
        """
        if not bound > 0:
            raise RequestError(f"a bound on memory must be above 0 bytes, not {bound}.")
        if self.bytes(lengths, 0) > bound:
            return None
        low, high = 0, most
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.bytes(lengths, middle) <= bound else (low, middle - 1)
        return low


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a server may hold: requests at once, tokens of cache, bytes. None is no bound.

    Bytes need ``memory``; drafts are then cut to what fits. A request that has joined is never thrown out again, so
    joining reserves its whole text: the simulated server knows lengths that a real one must guess.
    """

    batch: int = 32
    tokens: int | None = None
    bytes: float | None = None
    memory: Memory | None = None

    def __post_init__(self) -> None:
        if self.batch < 1 or (self.tokens is not None and self.tokens < 1):
            raise RequestError("a server holds at least one request, and one token.")
        if self.bytes is not None and self.memory is None:
            raise RequestError("a bound in bytes needs the models' sizes.", "Give memory=Memory(...).")

    def holds(self, lengths: Sequence[int]) -> bool:
        """Whether requests of these whole lengths fit together, with plain decoding."""
        if len(lengths) > self.batch or (self.tokens is not None and sum(lengths) > self.tokens):
            return False
        return self.bytes is None or self.memory is None or self.memory.bytes(lengths, 0) <= self.bytes

    def longest_draft(self, lengths: Sequence[int], wished: int) -> int:
        """Draft tokens that each request may have now, at most ``wished``."""
        if self.bytes is None or self.memory is None or wished == 0:
            return wished
        return self.memory.largest_budget(self.bytes, lengths, wished) or 0


UNBOUNDED = Bounds()
"""A batch of 32, and memory without end."""
