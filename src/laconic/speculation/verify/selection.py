"""The best rule for choosing one of K independent draws, and the exact law of the chosen one.

Give every draw a key in [0, 1] and choose the largest. If token x puts its keys where ``a_x(s) / q(x)`` says, with
``sum_x a_x(s) = 1`` for all s, keys as a whole are uniform and x is chosen with probability
``r(x) = integral a_x(s) d(s^K)``. Which r can be had? A set H of tokens is chosen from at least when all draws lie in
it, so ``r(H) >= q(H)^K``; every r with that property is had by some ``a``, for both sets are convex and have the same
corners (the tokens in some order of preference).

The r that loses least against p, ``sum min(p, r)``, spreads r / p as evenly as these bounds let it. They bind at sets
of the lowest p / q. Sort the tokens by p / q and draw the points (p(H), q(H)^K) of the leading sets H: between the
corners of their upper concave hull r / p is constant. What remains is to find ``a``. Keys in the order of p / q give
some tokens of a stretch too much and others too little; exchanging keys between two of them, one pair at a time, evens
it out (Hardy, Littlewood and Polya's transfers).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch

_BINS = 64
"""Tokens of nearly the same p / q share keys, in at most so many bins; the law stays exact, the best is missed by less
than p / q varies within a bin."""
_SETTLED = 1e-12
"""Probability below which a bin is not worth an exchange."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Keys of ``bins`` of tokens: ``keys [bins, cells]`` is the chance that a draw of the bin has its key in a cell."""

    bin_of: torch.Tensor
    """Bin of every token ``[vocab]``; -1 where it cannot be drawn."""
    keys: torch.Tensor
    chosen: torch.Tensor
    """How much more often than one draw the choice falls on a token of the bin, r / q, ``[bins]``."""

    def law(self, q: torch.Tensor) -> torch.Tensor:
        """``r [vocab]``: how often each token is chosen."""
        ratio = torch.cat([self.chosen, self.chosen.new_zeros(1)]).to(q)
        return q * ratio[self.bin_of]

    def wins(self, tokens: Sequence[int]) -> list[float]:
        """Probability that each of these draws has the largest key.

        In a cell where the key of draw i falls, the others have smaller ones with a product of linear functions of the
        place in the cell; its integral is taken exactly, power by power.
        """
        rows = self.keys[self.bin_of[torch.tensor(tokens, device=self.bin_of.device)].cpu()]
        below = rows.cumsum(1) - rows
        shares = []
        for i in range(len(tokens)):
            powers = torch.ones(1, rows.shape[1], dtype=rows.dtype)
            for j in range(len(tokens)):
                if j != i:
                    grown = torch.zeros(len(powers) + 1, rows.shape[1], dtype=rows.dtype)
                    grown[:-1] += below[j] * powers
                    grown[1:] += rows[j] * powers
                    powers = grown
            over = torch.arange(1, len(powers) + 1, dtype=rows.dtype)[:, None]
            shares.append(float((rows[i] * (powers / over).sum(0)).sum()))
        return shares


def best_selection(p: torch.Tensor, q: torch.Tensor, count: int) -> Selection:
    """The selection among ``count`` draws from ``q [vocab]`` whose law is nearest to ``p [vocab]``, both float64."""
    bin_of, pmass, qmass = binned(p, q)
    total = sum(qmass)
    edges, sums = [0.0], [0.0]
    for low, high in zip(qmass, pmass, strict=True):
        edges.append(edges[-1] + low / total)
        sums.append(sums[-1] + high)
    chance = [edge**count for edge in edges]
    corners = hull(sums, chance)
    # What a cell is worth to a draw whose key falls there, and what the draws of each bin should get on average.
    worth = [(chance[i + 1] - chance[i]) / (edges[i + 1] - edges[i]) for i in range(len(qmass))]
    due = list(worth)
    for first, last in itertools.pairwise(corners):
        rise, run = chance[last] - chance[first], sums[last] - sums[first]
        for i in range(first, last):
            share = pmass[i] / run if run > 0 else qmass[i] / (edges[last] - edges[first]) / total
            due[i] = rise * share / (edges[i + 1] - edges[i])
    keys = exchanged(worth, due, qmass, corners)
    return Selection(bin_of, keys, keys @ torch.tensor(worth, dtype=torch.float64))


def binned(p: torch.Tensor, q: torch.Tensor) -> tuple[torch.Tensor, list[float], list[float]]:
    """Tokens in ascending order of p / q, cut into bins: bin of each token, mass of each bin under p and under q."""
    tokens = q.nonzero()[:, 0]
    order = tokens[(p[tokens] / q[tokens]).argsort()]
    if len(order) > _BINS:
        mass = (p[order] + q[order]).cumsum(0)
        place = (mass / mass[-1] * _BINS).ceil().long().clamp(1, _BINS) - 1
        place = torch.unique(place, return_inverse=True)[1]
    else:
        place = torch.arange(len(order), device=q.device)
    bin_of = torch.full_like(q, -1, dtype=torch.long)
    bin_of[order] = place
    sums = [p.new_zeros(int(place[-1]) + 1).index_add_(0, place, mass[order]).tolist() for mass in (p, q)]
    return bin_of, sums[0], sums[1]


def hull(x: Sequence[float], y: Sequence[float]) -> list[int]:
    """Indices of the corners of the upper concave hull of points with ascending ``x``, first and last included."""
    corners: list[int] = []
    for c in range(len(x)):
        while len(corners) > 1:
            a, b = corners[-2:]
            if (y[b] - y[a]) * (x[c] - x[a]) > (y[c] - y[a]) * (x[b] - x[a]):
                break
            corners.pop()
        corners.append(c)
    return corners


def exchanged(worth: list[float], due: list[float], mass: list[float], corners: Sequence[int]) -> torch.Tensor:
    """Keys ``[bins, cells]``: each bin begins with the keys of its own cell; exchanges give every one what is due.

    Both ``worth`` and ``due`` ascend between two corners, and leading bins are never worth more than they are due
    together. So a bin with a surplus finds bins before it that lack as much, and each exchange settles one of the two.
    """
    worth = list(worth)
    keys = torch.eye(len(worth), dtype=torch.float64)
    for first, last in itertools.pairwise(corners):
        lacking: list[int] = []
        for j in range(first, last):
            while lacking and mass[j] * (worth[j] - due[j]) > _SETTLED:
                i = lacking[-1]
                lack, surplus = mass[i] * (due[i] - worth[i]), mass[j] * (worth[j] - due[j])
                swap = min(lack, surplus) / (worth[j] - worth[i])
                to_i, to_j = min(swap / mass[i], 1.0), min(swap / mass[j], 1.0)
                keys[i], keys[j] = keys[i] + to_i * (keys[j] - keys[i]), keys[j] + to_j * (keys[i] - keys[j])
                gap = worth[j] - worth[i]
                worth[i], worth[j] = worth[i] + to_i * gap, worth[j] - to_j * gap
                if lack <= surplus:
                    lacking.pop()
                else:
                    break
            if mass[j] * (due[j] - worth[j]) > _SETTLED:
                lacking.append(j)
    return keys
