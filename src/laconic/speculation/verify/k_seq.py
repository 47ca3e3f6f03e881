"""Siblings drawn independently, all held to one scaled test."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from laconic.policy import Card, knobs
from laconic.speculation.verify.coupling import Independent, Uniform
from laconic.speculation.verify.residual import residual

_HALVINGS = 30
"""Any scale at or above the smallest valid one is exact, so this many only leave the last 1e-9 of acceptance."""


def granted(p: torch.Tensor, q: torch.Tensor, count: int, scale: float) -> tuple[float, float]:
    """``(beta, n)``: chance that one token passes the test, and how many are tested on average.

    ``beta = sum min(q, p / scale)``; ``n = (1 - (1 - beta)^count) / beta``, the sum of the chances to get that far.
    """
    beta = min(float(torch.minimum(q, p / scale).sum()), 1.0)
    return beta, sum((1 - beta) ** i for i in range(count))


def scaling(p: torch.Tensor, q: torch.Tensor, count: int) -> float:
    """The smallest ``scale`` in [1, count] under which no token is emitted more often than ``p`` allows.

    A token x passes as the first, second, ... sibling with min(q(x), p(x) / scale) in all n times, n as in
    :func:`granted`. That is at most p(x) for every x once n <= scale. n grows with the scale, from at least 1 at 1 to
    at most ``count`` at ``count``; the upper end of the bisection is valid at every step.
    """
    low, high = 1.0, float(count)
    if granted(p, q, count, low)[1] <= low:
        return low
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if granted(p, q, count, middle)[1] <= middle:
            high = middle
        else:
            low = middle
    return high


@knobs
class KSeq(Independent):
    """Siblings are independent draws from q; each x in turn is accepted with min(1, p(x) / (rho q(x))).

    Source: SpecTr (Sun et al. 2023), K-SEQ (algorithm 2 and its section 4). The test is the same for every sibling; the
    smallest valid rho in [1, K] is found by bisection. Some sibling of K is accepted at least (1 - 1/e) times as often
    as the best coupling could. When all are refused the token is drawn from what is then owed,
    ``p - n min(q, p / rho)``, n the mean number of siblings tested.
    """

    card = Card(
        paper="SpecTr: Fast Speculative Decoding via Optimal Transport",
        lossless=True,
        catalogue=(132,),
        arxiv="2310.15141",
    )

    def choose(
        self, p: torch.Tensor, q: torch.Tensor, tokens: Sequence[int], uniform: Uniform
    ) -> tuple[int | None, torch.Tensor]:
        """Test the tokens one after another, all against the same scaled distribution."""
        drawn = q.nonzero()[:, 0]  # all other tokens pass with probability 0, and filters leave few
        scale = scaling(p[drawn], q[drawn], len(tokens))
        for rank, token in enumerate(tokens):
            if uniform(rank) * scale * float(q[token]) < float(p[token]):
                return rank, p
        _, tested = granted(p, q, len(tokens), scale)
        return None, residual(p, tested * torch.minimum(q, p / scale))
