"""What the last few queries attend to, smoothed along the text: the score of SnapKV, on which others build."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from laconic.kv.base import Layer
from laconic.kv.keeping import Evicting


class Observing(Evicting):
    """Those whose score depends on the last ``window`` queries, whose own entries stay."""

    if TYPE_CHECKING:

        @property
        def window(self) -> int:
            """A knob of every subclass: last tokens whose queries count."""

    @property
    def least(self) -> int:
        """Sinks, and the window or the last tokens, whichever are more."""
        return self.sinks + max(self.recent, self.window)

    @property
    def reads(self) -> int:
        """The window's queries."""
        return self.window


class Summing(Evicting):
    """Those that add up the attention of every query, ``seen`` of them at a time; their notes are the sum."""

    if TYPE_CHECKING:

        @property
        def seen(self) -> int:
            """A knob of every subclass: tokens after which the weights of their queries are added up."""

    @property
    def reads(self) -> int:
        """The queries since the last look."""
        return self.seen

    @property
    def notes(self) -> int:
        """The sum."""
        return 1

    @property
    def follows(self) -> bool:
        """No query is left out."""
        return True

    def attended(self, layer: Layer) -> Tensor:
        """The sum so far with the queries at hand in it, ``[entries, kv_heads]``; it is the note itself."""
        total = layer.noted("attended")
        total += layer.weights.mean(1).sum(1).T
        return total


def observed(layer: Layer, kernel: int) -> Tensor:
    """What the queries at hand attend to on average, ``[entries, kv_heads]``, pooled over ``kernel`` neighbours.

    Their own entries, which are the last ones, get more than any other.
    """
    own = len(layer.queries)
    mean = layer.weights[..., : len(layer) - own].mean(2)
    if not mean.shape[-1]:
        return torch.ones(len(layer), layer.keys.shape[1], device=layer.keys.device)
    pooled = F.avg_pool1d(mean, kernel, stride=1, padding=kernel // 2)[..., : mean.shape[-1]].mean(1)
    return F.pad(pooled, (0, own), value=float(pooled.max()) + 1 if pooled.numel() else 1.0).T
