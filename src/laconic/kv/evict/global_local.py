"""EMS's score: what was attended to in all, and what the last queries attend to."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from laconic.kv.base import Layer
from laconic.kv.observed import Summing
from laconic.policy import Card, knobs


@knobs
class GlobalLocal(Summing):
    """Keep what has the largest sum of two attentions: of all queries since it was written, and of the last ones.

    Source: EMS (Li et al. 2024), its global-local score. The sum over all queries favours the first tokens, which most
    can see, and the last queries favour their neighbours; the latter is scaled to the mean of the former, head by head,
    before they are added. That they are added, rather than the larger taken, could not be confirmed. The paper merges
    what goes: ``merge=[ems]``. As a view (``kv-view``) it knows the last ``seen`` queries alone.
    """

    card = Card(
        paper="EMS: Adaptive Evict-then-Merge Strategy for Head-wise KV Cache Compression Based on Global-Local "
        "Importance",
        lossless=False,
        catalogue=(221,),
        arxiv="2412.08521",
    )

    window: Annotated[int, Field(ge=1)] = 32
    """Last tokens whose queries are the local ones; no more than were written since the last look."""
    seen: Annotated[int, Field(ge=1)] = 256
    """Tokens after which the weights of their queries are added up, if the cache was not reduced before."""

    def score(self, layer: Layer) -> Tensor:
        """The sum so far, and the last queries' mean scaled to its mean."""
        total = self.attended(layer)
        local = layer.weights[:, :, -self.window :].mean((1, 2)).T
        return total + local * (total.mean(0) / local.mean(0))
