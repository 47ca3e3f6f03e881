"""A refused token stands if it is among the target's likeliest."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.speculation.base import Refused, Relaxation


@knobs
class TopK(Relaxation):
    """A refused token stands if fewer than ``k`` tokens are likelier to the target.

    Source: top-k selection of Blockwise Parallel Decoding (Stern et al. 2018, section 5.1).
    """

    card = Card(
        paper="Blockwise Parallel Decoding for Deep Autoregressive Models", lossless=False, arxiv="1811.03115"
    )  # fmt: skip

    k: Annotated[int, Field(ge=0)] = 2
    """Ranks that stand; 0 lets nothing stand that was refused."""

    def chance(self, refused: Refused) -> float:
        """1 within the first ``k``, of which only possible tokens count."""
        return float(refused.p > 0 and int((refused.target > refused.p).sum()) < self.k)
