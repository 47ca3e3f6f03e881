"""PrefixKV: each layer keeps what holds the same share of its importance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from laconic.kv.base import Allocator, fitted
from laconic.policy import Card, knobs

_STEPS = 40
"""Halvings of the interval in which the threshold lies; far below a single entry."""


@knobs
class Prefix(Allocator):
    """Each layer keeps its best entries until they hold one share of its whole score, the same for all layers.

    Source: PrefixKV (Wang et al. 2025). The share is found by halving, so that all layers together keep the total. It
    needs scores that are shares of something, as those made of attention weights are: they are taken above their lowest
    one. The paper finds the layers' numbers once, on samples; here it is done for each text, at every reduction.
    """

    card = Card(
        paper="PrefixKV: Adaptive Prefix KV Cache is What Vision Instruction-Following Models Need",
        lossless=False,
        catalogue=(218,),
    )

    def shares(self, total: int, scores: Sequence[Tensor], least: int) -> list[int]:
        """As many as reach the threshold, layer by layer."""
        curves = [_curve(score) for score in scores]
        low, high = 0.0, 1.0
        for _ in range(_STEPS):
            middle = (low + high) / 2
            if sum(_needed(curve, middle) for curve in curves) > total:
                high = middle
            else:
                low = middle
        wanted = [_needed(curve, low) for curve in curves]
        return fitted(wanted, total, [len(score) for score in scores], least)


def _curve(score: Tensor) -> Tensor:
    """The share of a layer's importance that its best n entries hold, ``[entries]``, a mean over its heads.

    Entries that stay in any case come first and count as much as the best of the others.
    """
    known = score.masked_fill(score.isinf(), -torch.inf)
    top, bottom = known.amax(0), score.amin(0)
    bottom = torch.where(bottom.isinf(), torch.zeros_like(bottom), bottom)
    top = torch.where(top.isinf(), bottom + 1, top)
    value = torch.where(score.isinf(), top, score) - bottom
    ordered = value.sort(0, descending=True).values
    whole = ordered.sum(0)
    even = torch.ones_like(ordered).cumsum(0) / len(ordered)
    held = torch.where(whole > 0, ordered.cumsum(0) / whole.clamp_min(1e-30), even)
    return held.mean(1)


def _needed(curve: Tensor, share: float) -> int:
    """How many of the best entries hold ``share`` of it."""
    return int((curve < share).sum()) + 1 if share > 0 else 0
