"""What a head with attention remembers of one request: keys and values along the text, then those of the draft."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = 256


class Memory:
    """Entries ``[kv_heads, head_dim]`` of keys and values: ``length`` of committed text, then those of drafted
    tokens.

    With a ``window`` an entry is seen from less than so many places behind it, and forgotten (``gone``) when nothing
    sees it any more; ``length`` and ``filled`` count it all the same.
    """

    __slots__ = ("_keys", "_values", "filled", "gone", "length", "window")

    def __init__(self, window: int = 0) -> None:
        self._keys: Tensor | None = None
        self._values: Tensor | None = None
        self.window = window
        """0: everything is seen."""
        self.length = 0
        self.filled = 0
        self.gone = 0

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add entries ``[n, kv_heads, head_dim]``; returns what is here, ``[filled - gone, kv_heads, head_dim]``."""
        held = self.filled - self.gone
        needed = held + len(keys)
        if self._keys is None or self._values is None or needed > len(self._keys):
            self._keys, self._values = (
                self._larger(self._keys, keys, needed),
                self._larger(self._values, values, needed),
            )
        self._keys[held:needed], self._values[held:needed] = keys, values
        self.filled += len(keys)
        return self._keys[:needed], self._values[:needed]

    def commit(self) -> None:
        """What was added last is text."""
        self.length = self.filled
        far = self.length + 1 - self.window - self.gone - _BLOCK  # not seen, nor after a short step back
        if self.window and far >= _BLOCK and self._keys is not None and self._values is not None:
            held = self.filled - self.gone
            for part in (self._keys, self._values):
                part[: held - far] = part[far:held].clone()
            self.gone += far

    def trim(self, length: int) -> None:
        """Forget drafted entries, and committed ones beyond the first ``length``."""
        if self.lacks(length):
            self.gone = length = 0  # all is read again
        self.length = min(self.length, length)
        self.filled = self.length

    def lacks(self, length: int) -> bool:
        """Whether something is gone that a token behind the first ``length`` would see."""
        return self.gone > 0 and length + 1 - self.window < self.gone

    def sees(self, place: int) -> slice:
        """The committed entries among those that are here that a token at ``place`` of the text sees."""
        begin = max(place + 1 - self.window, self.gone) if self.window else self.gone
        return slice(begin - self.gone, max(self.length, begin) - self.gone)

    @property
    def nbytes(self) -> int:
        """Bytes held, in use or not."""
        return sum(part.nbytes for part in (self._keys, self._values) if part is not None)

    def _larger(self, old: Tensor | None, like: Tensor, needed: int) -> Tensor:
        held = self.filled - self.gone
        new = like.new_empty((-(-max(needed, 2 * held) // _BLOCK) * _BLOCK, *like.shape[1:]))
        if old is not None:
            new[:held] = old[:held]
        return new


def causal(memory: Memory, rows: int) -> Tensor:
    """What ``rows`` further tokens see: all that is committed, and each other up to themselves. ``[rows, entries]``."""
    held = memory.filled - memory.gone
    seen = torch.ones(rows, held + rows, dtype=torch.bool).tril(held)
    return seen.triu(held + 1 - memory.window) if memory.window else seen
