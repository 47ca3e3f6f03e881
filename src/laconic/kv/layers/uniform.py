"""The same for every layer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from laconic.kv.base import Allocator, fitted
from laconic.policy import Card, knobs


@knobs
class Uniform(Allocator):
    """Every layer keeps as many entries as every other.

    What SnapKV, H2O, TOVA and StreamingLLM do.
    """

    card = Card(
        paper="SnapKV: LLM Knows What You Are Looking For Before Generation", lossless=False, arxiv="2404.14469"
    )

    def shares(self, total: int, scores: Sequence[Tensor], least: int) -> list[int]:
        """Equal shares of the total."""
        return fitted([total / max(len(scores), 1)] * len(scores), total, [len(score) for score in scores], least)
