"""RPC: answers by the probability of their thoughts, improbable thoughts left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from laconic.policy import Card, Needs, knobs
from laconic.scaling.base import Attempt, Board
from laconic.scaling.vote.base import Vote, log_probability

_ROUNDS = 100
_FEWEST = 4
"""Attempts below which no mixture is fitted."""
Floats = NDArray[np.float64]


@knobs
class RPC(Vote):
    """An answer has the probability of all different thoughts that lead to it, once improbable ones are pruned.

    Source: Bridging Internal Probability and Self-Consistency for Effective and Efficient LLM Reasoning (Zhou et al.
    2025). Perplexity consistency sums model probabilities over different texts (equation 6), so that a text that was
    drawn twice counts once. Reasoning pruning fits two Weibull distributions to the attempts' probabilities and leaves
    out those that likelier belong to the improbable one, unless they are above the mean. The probability of a text is
    taken per token here, as its geometric mean: of whole texts the longest would never count.
    """

    card = Card(paper="Bridging Internal Probability and Self-Consistency", lossless=False, catalogue=(269,))
    needs = Needs(chances=True)

    prune: bool = True
    """Leave improbable thoughts out; without, this is perplexity consistency alone."""

    def voters(self, state: Any, board: Board) -> Sequence[Attempt]:
        """Those with different texts, the improbable ones left out."""
        seen: set[tuple[int, ...]] = set()
        unique: list[Attempt] = []
        for attempt in board.done:
            assert attempt.result is not None
            if attempt.result.tokens not in seen:
                seen.add(attempt.result.tokens)
                unique.append(attempt)
        if not self.prune or len(unique) < _FEWEST:
            return unique
        probs = np.array([self.weight(state, board, attempt) for attempt in unique])
        kept = probable(probs)
        return [attempt for attempt, keeps in zip(unique, kept, strict=True) if keeps] or unique

    def weight(self, state: Any, board: Board, attempt: Attempt) -> float:
        """The probability of its text, per token."""
        return math.exp(log_probability(attempt) / max(len(attempt.chances), 1))


def probable(probs: Floats) -> NDArray[np.bool_]:
    """Which of some probabilities belong to the higher of two Weibull distributions, or lie above their mean."""
    keep = probs >= probs.mean()
    fitted = weibulls(probs)
    if fitted is None:
        return np.ones(len(probs), dtype=bool)
    shares, shapes, scales = fitted
    density = np.stack([s * _density(probs, k, c) for s, k, c in zip(shares, shapes, scales, strict=True)])
    means = [c * math.gamma(1 + 1 / k) for k, c in zip(shapes, scales, strict=True)]
    high = int(np.argmax(means))
    return np.asarray(keep | (density[high] >= density[1 - high]), dtype=np.bool_)


def _density(x: Floats, shape: float, scale: float) -> Floats:
    ratio = np.maximum(x, 1e-12) / scale
    return np.asarray(shape / scale * ratio ** (shape - 1) * np.exp(-(ratio**shape)), dtype=np.float64)


def weibulls(x: Floats) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float]] | None:
    """Shares, shapes and scales of a mixture of two Weibull distributions, by expectation maximisation.

    None where all values are about the same, so that there is nothing to tell apart.
    """
    if np.ptp(x) < 1e-9:
        return None
    order = np.sort(x)
    low, high = order[: len(x) // 2], order[len(x) // 2 :]
    parts = [_fit(low, np.ones(len(low))), _fit(high, np.ones(len(high)))]
    shares = [0.5, 0.5]
    for _ in range(_ROUNDS):
        each = np.stack([s * _density(x, *p) for s, p in zip(shares, parts, strict=True)])
        total = each.sum(0)
        belongs = np.where(total > 0, each / np.maximum(total, 1e-300), 0.5)
        sizes = belongs.sum(1)
        if sizes.min() < 1e-3:
            break
        new = [float(size / len(x)) for size in sizes]
        parts = [_fit(x, weights) for weights in belongs]
        if abs(new[0] - shares[0]) < 1e-6:
            break
        shares = new
    (k1, c1), (k2, c2) = parts
    return (shares[0], shares[1]), (k1, k2), (c1, c2)


def _fit(x: Floats, weights: Floats) -> tuple[float, float]:
    """Shape and scale of a Weibull distribution, by weighted maximum likelihood.

    The shape solves sum(w x^k ln x) / sum(w x^k) - 1 / k = mean(ln x), whose left side grows with k.
    """
    x = np.maximum(x, 1e-12)
    logs = np.log(x)
    mean = float((weights * logs).sum() / weights.sum())
    low, high = 0.05, 200.0
    for _ in range(60):
        k = math.sqrt(low * high)
        powers = weights * np.exp(k * (logs - logs.max()))
        value = float((powers * logs).sum() / powers.sum()) - 1 / k - mean
        low, high = (k, high) if value < 0 else (low, k)
    k = math.sqrt(low * high)
    scale = float(((weights * x**k).sum() / weights.sum()) ** (1 / k))
    return k, max(scale, 1e-12)
