"""Rows over the few next tokens that a store remembers."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from laconic.speculation.base import Context, Drafting, Row
from laconic.speculation.draws import foreseen

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class FewRow:
    """A Row over a list of tokens, likeliest first. ``width`` is that of ``probs``, None where that says nothing.

    ``chances`` are those that the target takes each token; ``weights`` is what the request draws from, tokens in the
    order of ``tokens``.
    """

    __slots__ = ("_chances", "_probs", "_tokens", "_weights", "_width")

    def __init__(self, tokens: list[int], chances: list[float], weights: Floats, width: int | None) -> None:
        self._tokens, self._chances, self._weights, self._width = tokens, chances, weights, width
        self._probs: torch.Tensor | None = None

    @property
    def best(self) -> int | None:
        """The first of the tokens."""
        return self._tokens[0] if self._tokens else None

    @property
    def confidence(self) -> float:
        """Its chance."""
        return self._chances[0] if self._chances else 0.0

    def top(self, k: int) -> list[tuple[int, float]]:
        """The first ``k``."""
        return list(zip(self._tokens[:k], self._chances, strict=False))

    @property
    def probs(self) -> torch.Tensor | None:
        """All weight on the tokens that are known, ``[width]``; None where nothing is known."""
        if self._probs is None and self._width is not None and self._tokens:
            self._probs = torch.zeros(self._width)
            weights = torch.from_numpy(self._weights / self._weights.sum()).float()
            self._probs[torch.tensor(self._tokens)] = weights
        return self._probs


def few_rows(tokens: Ints, shares: Floats, context: Context, positions: Ints, width: int | None = None) -> list[Row]:
    """Rows of several nodes. ``tokens`` and ``shares`` are ``[nodes, k]``, a share of 0 stands for no token.

    ``shares`` are the chances of the tokens as the request draws them, adding up to less than 1 by what is left for
    others; ``positions [nodes]`` are those of the next tokens. Where the target's draw can be foreseen, chances are
    those to be that very draw.
    """
    chances = shares
    if not context.sampling.greedy and context.drafting is Drafting.FORESEE:
        chances = foreseen(context.draws.units(tokens, positions), shares)
    order = (-chances).argsort(-1, kind="stable")
    tokens, chances = np.take_along_axis(tokens, order, -1), np.take_along_axis(chances, order, -1)
    weights, sizes = np.take_along_axis(shares, order, -1), (chances > 0).sum(-1).tolist()
    known = zip(tokens.tolist(), chances.tolist(), weights, sizes, strict=True)
    return [FewRow(t[:size], c[:size], w[:size], width) for t, c, w, size in known]
