"""D2O: into the nearest kept key, where it is near enough."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from laconic.kv.base import Merger, Parting
from laconic.kv.folding import means, nearest_keys
from laconic.kv.keeping import coarse
from laconic.policy import Card, knobs


@knobs
class D2O(Merger):
    """Fold an entry into the kept one with the most similar key, where it is as similar as goers are on average.

    Source: D2O (Wan et al. 2024), its token level; its shares of layers are another matter (``layers``). Similarity is
    the cosine of the keys as they are cached, rotated. The threshold is the mean of the goers' similarities, smoothed
    over reductions; entries below it are dropped. One of similarity u weighs ``exp(u)`` in the mean that takes the kept
    entry's place, and the kept one ``e``, as if it were like itself; these weights and the 0.7 could not be checked
    against the paper's text. The authors' code decides by the mean over all heads, though these give up different
    tokens, and scales entries by u before a plain mean, which shortens all that it merges; here each head decides for
    itself, and weights sum to 1. Keys are merged as they are rotated (laconic.kv.folding says what that means), in the
    code as here; with ``keys=False`` values alone.
    """

    card = Card(
        paper="D2O: Dynamic Discriminative Operations for Efficient Long-Context Inference of Large Language Models",
        lossless=False,
        arxiv="2406.13035",
    )

    smooth: Annotated[float, Field(gt=0, le=1)] = 0.7
    """What the newest mean counts in the threshold, and the threshold so far the rest."""
    keys: bool = True
    """Merge keys as well as values."""

    @property
    def notes(self) -> int:
        """The threshold."""
        return 1

    def merged(self, parting: Parting) -> tuple[Tensor, Tensor]:
        """Means of what stays with what is folded into it."""
        keys, values = parting.keys(parting.stays), parting.values(parting.stays)
        gone = parting.keys(parting.goes)
        likeness, places = nearest_keys(gone, keys)
        threshold = likeness.mean(0)
        if (before := parting.state.get("threshold")) is not None:
            threshold = self.smooth * threshold + (1 - self.smooth) * before
        parting.state["threshold"] = threshold
        weights = torch.where(coarse(likeness) >= coarse(threshold), likeness.exp(), 0.0)
        own = torch.full(parting.stays.shape, math.e, device=keys.device)
        values = means(values, parting.values(parting.goes), places, weights, own)
        return means(keys, gone, places, weights, own) if self.keys else keys, values
