"""Rows over the few next tokens that a store remembers."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

import numpy as np
import torch
from numpy.typing import NDArray

from laconic.models.native import bf16
from laconic.speculation.base import Context, Drafting, Row
from laconic.speculation.draws import foreseen

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
NOTHING = -1
"""In place of a token where there is none."""
_LEAST = 1e-4
"""Shares below this are left out: they are never worth a draft."""


class FewRow:
    """A Row over tokens with their chances to be taken, likeliest first.

    ``shares`` is what the request draws from, of the same tokens; ``width`` that of ``probs``, None where that says
    nothing.
    """

    __slots__ = ("_known", "_probs", "_shares", "_width", "best", "confidence")

    def __init__(self, known: list[tuple[int, float]], shares: dict[int, float], width: int | None) -> None:
        self._known, self._shares, self._width = known, shares, width
        self._probs: torch.Tensor | None = None
        self.best = known[0][0] if known else None
        self.confidence = known[0][1] if known else 0.0

    def top(self, k: int) -> list[tuple[int, float]]:
        """The first ``k``."""
        return self._known[:k]

    @property
    def probs(self) -> torch.Tensor | None:
        """All weight on the tokens that are known, ``[width]``; None where nothing is known."""
        if self._probs is None and self._width is not None and self._known:
            weights = torch.tensor(list(self._shares.values()))
            self._probs = torch.zeros(self._width)
            self._probs[torch.tensor(list(self._shares))] = weights / weights.sum()
        return self._probs


def few_rows(
    tokens: Ints, shares: Floats, context: Context, positions: Sequence[int], width: int | None = None
) -> list[Row]:
    """Rows of several nodes. ``tokens`` and ``shares`` are ``[nodes, k]``; a token that is there twice has both shares.

    ``shares`` are the chances of the tokens as the request draws them, adding up to less than 1 by what is left for
    others; ``positions`` are those of the next tokens. Where the target's draw can be foreseen, chances are those to be
    that very draw.
    """
    merged = _added(tokens, shares)
    if context.sampling.greedy or context.drafting is not Drafting.FORESEE:
        chances = [list(row.items()) for row in merged]
    else:
        most = max(map(len, merged))
        filled = [(*row, *(0,) * (most - len(row))) for row in merged]
        units = context.draws.units(np.array(filled, dtype=np.int64).reshape(len(merged), most), positions)
        held = np.array([(*row.values(), *(0.0,) * (most - len(row))) for row in merged]).reshape(len(merged), most)
        found = foreseen(units, held).tolist()
        chances = [list(zip(row, chance, strict=False)) for row, chance in zip(merged, found, strict=True)]
    return [
        FewRow(sorted(chance, key=itemgetter(1), reverse=True), row, width)
        for chance, row in zip(chances, merged, strict=True)
    ]


def _added(tokens: Ints, shares: Floats) -> list[dict[int, float]]:
    """Shares by token of each row, in the order in which tokens come first."""
    if (kernels := bf16.loaded()) is None:
        return [_merged(row, share) for row, share in zip(tokens.tolist(), shares.tolist(), strict=True)]
    tokens, shares = np.array(tokens, dtype=np.int64, order="C"), np.array(shares, dtype=np.float64, order="C")
    count, wide = tokens.shape
    found = np.empty(count, dtype=np.int64)
    kernels.shares_add(tokens.ctypes.data, shares.ctypes.data, count, wide, _LEAST, found.ctypes.data)
    rows = zip(found.tolist(), tokens.tolist(), shares.tolist(), strict=True)
    return [dict(zip(row[:n], share[:n], strict=True)) for n, row, share in rows]


def _merged(tokens: list[int], shares: list[float]) -> dict[int, float]:
    """Shares by token, in the order in which tokens come first."""
    found: dict[int, float] = {}
    for token, share in zip(tokens, shares, strict=True):
        if share > _LEAST and token != NOTHING:
            found[token] = found.get(token, 0.0) + share
    return found
