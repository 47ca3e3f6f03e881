"""PyramidKV: more entries for lower layers, fewer for higher ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from torch import Tensor

from laconic.kv.base import Allocator, fitted
from laconic.policy import Card, knobs


@knobs
class Pyramid(Allocator):
    """Shares fall evenly from the lowest layer to the highest.

    Source: PyramidKV (Cai et al. 2024). The highest layer has 1/``beta`` of the average, beyond what all layers keep in
    any case, the lowest as much above the average as that is below; where the lowest has no more entries than that,
    the rest goes to the others.
    """

    card = Card(
        paper="PyramidKV: Dynamic KV Cache Compression based on Pyramidal Information Funneling",
        lossless=False,
        arxiv="2406.02069",
    )

    beta: Annotated[float, Field(ge=1)] = 20
    """How steep it is; 1 is uniform."""

    def shares(self, total: int, scores: Sequence[Tensor], least: int) -> list[int]:
        """A line from the lowest layer to the highest."""
        count = len(scores)
        most = [len(score) for score in scores]
        mean = max(total / max(count, 1) - least, 0.0)
        low, last = mean / self.beta, max(count - 1, 1)
        wanted = [least + (2 * mean - low) - layer * 2 * (mean - low) / last for layer in range(count)]
        return fitted(wanted, total, most, least)
