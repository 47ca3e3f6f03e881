"""What a head with attention remembers of one request: keys and values along the text, then those of the draft."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = 256


class Memory:
    """Entries ``[kv_heads, head_dim]`` of keys and values: ``length`` of committed text, then those of drafted
    tokens.
    """

    __slots__ = ("_keys", "_values", "filled", "length")

    def __init__(self) -> None:
        self._keys: Tensor | None = None
        self._values: Tensor | None = None
        self.length = 0
        self.filled = 0

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add entries ``[n, kv_heads, head_dim]``; returns all of them, ``[filled, kv_heads, head_dim]``."""
        needed = self.filled + len(keys)
        if self._keys is None or self._values is None or needed > len(self._keys):
            self._keys, self._values = (
                self._larger(self._keys, keys, needed),
                self._larger(self._values, values, needed),
            )
        self._keys[self.filled : needed], self._values[self.filled : needed] = keys, values
        self.filled = needed
        return self._keys[:needed], self._values[:needed]

    def commit(self) -> None:
        """What was added last is text."""
        self.length = self.filled

    def trim(self, length: int) -> None:
        """Forget drafted entries, and committed ones beyond the first ``length``."""
        self.length = min(self.length, length)
        self.filled = self.length

    @property
    def nbytes(self) -> int:
        """Bytes held, in use or not."""
        return sum(part.nbytes for part in (self._keys, self._values) if part is not None)

    def _larger(self, old: Tensor | None, like: Tensor, needed: int) -> Tensor:
        new = like.new_empty((-(-max(needed, 2 * self.filled) // _BLOCK) * _BLOCK, *like.shape[1:]))
        if old is not None:
            new[: self.filled] = old[: self.filled]
        return new


def causal(memory: Memory, rows: int) -> Tensor:
    """What ``rows`` further tokens see: all that is committed, and each other up to themselves. ``[rows, entries]``."""
    return torch.ones(rows, memory.filled + rows, dtype=torch.bool).tril(memory.filled)
