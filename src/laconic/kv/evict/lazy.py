"""LazyEviction: what comes back after a while may come back again."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from laconic.kv.base import Layer
from laconic.kv.keeping import Evicting
from laconic.policy import Card, knobs


@knobs
class LazyEviction(Evicting):
    """Keep entries whose last moment of attention is not long ago, by the measure of their own longest pause.

    Source: LazyEviction (Zhang et al. 2025), as the abstract describes it: an entry that was attended to, ignored for
    a while and attended to again may be wanted once more after as long a pause. A moment of attention is a weight
    above ``spike`` in any head of the group; the score is minus the time since the last one over the longest pause so
    far. The paper's own form of that function, and its ``spike``, could not be confirmed. Eviction comes every
    ``every`` tokens, which is the paper's window.
    """

    card = Card(
        paper="LazyEviction: Lagged KV Eviction with Attention Pattern Observation for Efficient Long Reasoning",
        lossless=False,
        catalogue=(136,),
    )

    spike: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """The attention weight from which on an entry counts as attended to."""
    seen: Annotated[int, Field(ge=1)] = 64
    """Tokens after which their queries are looked at, if the cache was not reduced before."""

    @property
    def reads(self) -> int:
        """The queries since the last look."""
        return self.seen

    @property
    def follows(self) -> bool:
        """No query is left out."""
        return True

    @property
    def notes(self) -> int:
        """The last moment of attention, and the longest pause."""
        return 2

    def score(self, layer: Layer) -> Tensor:
        """Minus the time since the last moment of attention over the longest pause between two."""
        last, longest = layer.noted("last"), layer.noted("pause")
        torch.maximum(last, layer.positions.to(last.dtype), out=last)  # an entry is attended to when it is written
        strong = layer.weights.amax(1).permute(1, 2, 0) > self.spike
        for at, now in zip(layer.asked_at.tolist(), strong, strict=True):
            pause = torch.where(now, at - last, 0.0)
            torch.maximum(longest, pause, out=longest)
            last.masked_fill_(now, float(at))
        return -(layer.length - last) / longest.clamp_min(1.0)
