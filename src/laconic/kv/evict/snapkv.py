"""SnapKV: what the last few tokens attend to, smoothed along the text."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from laconic.kv.base import Layer
from laconic.kv.observed import Observing, observed
from laconic.policy import Card, knobs


@knobs
class SnapKV(Observing):
    """Keep what the last ``window`` queries attend to, head by head, each entry with its neighbours.

    Source: SnapKV (Li et al. 2024): weights are averaged over the window and over the heads of a group, and pooled over
    ``kernel`` entries in a row. The window itself stays. The paper reduces the prompt alone (``every=0``); here the
    cache is reduced while a thought is written, too, by the last queries then.
    """

    card = Card(
        paper="SnapKV: LLM Knows What You Are Looking For Before Generation", lossless=False, arxiv="2404.14469"
    )

    window: Annotated[int, Field(ge=1)] = 32
    """Last tokens whose queries count; no more than were written since the last reduction."""
    kernel: Annotated[int, Field(ge=1)] = 5
    """Entries over which scores are averaged; odd."""

    def score(self, layer: Layer) -> Tensor:
        """The window's mean weights, pooled; more than all of them for the window itself."""
        return observed(layer, self.kernel)
