"""How much the cache may take, and whether another request fits."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

import torch

from laconic.models.base import LanguageModel

SHARE = 0.5
"""Of the memory that is free when the server starts, what the cache may take unless told otherwise."""
_BLOCK = 256
"""Tokens by which rows grow (see models.slots)."""
_AHEAD = 1024
"""Tokens that a request is trusted to write when it begins, if its limit is not less."""


class Extent(NamedTuple):
    """A request's tokens: of its prompt, written since, and as many as it may write."""

    prompt: int
    written: int
    limit: int


@dataclass(frozen=True)
class Memory:
    """The cache is one rectangle: as many rows as requests, up to the next power of two, all as long as the longest.

    A request is let in if it fits beside the others as far as each has come, with room for what it is likely to write.
    Those that outgrow that are paused, the latest first (``Runner``), so nothing is given up. The rectangle may have to
    be copied to grow, which is not counted.
    """

    token: int
    """Bytes of a token over all layers."""
    most: int
    """Bytes of the rectangle at most."""
    context: int
    cap: int | None = None
    """Tokens beyond which no request's cache goes, by the server's kv policy; None where there is no such number."""

    @staticmethod
    def of(model: LanguageModel, most: int, cap: int | None = None) -> Memory:
        """For a model; ``most`` in bytes."""
        with closing(model.open()) as slot:
            model.prefill(slot, [0])
            token = max(slot.nbytes, 1)
        return Memory(token, most, model.context, cap)

    def wanted(self, extents: Sequence[Extent]) -> int:
        """Bytes of the rectangle in which these requests have room for a while."""
        if not extents:
            return 0
        rows = 1 << (len(extents) - 1).bit_length()
        return rows * -(-max(map(self._soon, extents)) // _BLOCK) * _BLOCK * self.token

    def fits(self, extents: Sequence[Extent]) -> bool:
        """Whether these can go on together; one alone always may (see :attr:`longest`)."""
        return len(extents) == 1 or self.wanted(extents) <= self.most

    @property
    def longest(self) -> int:
        """Tokens of the longest text that fits if it is alone; the model's context, or less."""
        alone = self.most // self.token // _BLOCK * _BLOCK
        return self.context if self.cap is not None and self.cap <= alone else min(self.context, alone)

    def _soon(self, extent: Extent) -> int:
        ahead = min(max(_AHEAD, extent.written + _BLOCK), extent.limit)
        soon = min(extent.prompt + ahead, self.context)
        return soon if self.cap is None else min(soon, self.cap)


def free(device: torch.device | None) -> int:
    """Bytes that are free where a model runs."""
    if device is not None and device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            found = next(line for line in lines if line.startswith("MemAvailable"))
        return int(found.split()[1]) * 1024
    except (OSError, StopIteration):  # not Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
