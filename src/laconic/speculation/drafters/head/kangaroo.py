"""Kangaroo: the target's first layers draft, and a light adapter makes of their output what the output head reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from laconic.errors import HeadError
from laconic.speculation.drafters.head.block import AdapterLayer
from laconic.speculation.drafters.head.contract import Shape, Span
from laconic.speculation.drafters.head.output import LayerAndOutputs


class Kangaroo(LayerAndOutputs):
    """Kangaroo (Liu et al. 2024, arXiv 2404.18911): one layer of attention over the output of the first ``early``
    layers.

    Nothing but that output is read, so features of later layers are looked at in training alone, where they teach. The
    paper's second exit, which ends a draft where the drafter is not confident, is a length: ``confidence``.
    """

    early: ClassVar[int] = 2

    def __init__(self, shape: Shape) -> None:
        if not shape.early:
            raise HeadError("a kangaroo is made of the target's first layers.", "Name how many: --early 2.")
        super().__init__(shape, AdapterLayer(shape))

    def read(self, heard: Tensor, features: Tensor, spans: Sequence[Span]) -> Tensor:
        """Along committed text."""
        return self._adapted(heard, spans)

    def step(self, states: Tensor, heard: Tensor, depths: Sequence[int], spans: Sequence[Span]) -> Tensor:
        """One drafted token further; what is above it comes in through attention."""
        return self._adapted(heard, spans)

    def _adapted(self, heard: Tensor, spans: Sequence[Span]) -> Tensor:
        states: Tensor = self.layer(heard, heard, spans)
        return states

    def logits(self, states: Tensor, depths: Sequence[int]) -> Tensor:
        """The same at every depth."""
        return self.say(self.norm(states))

    def unrolled(self, heard: Tensor, features: Tensor, steps: int) -> list[Tensor]:
        """Every step says the same of a token, since nothing of the draft but its tokens is heard."""
        states = self.layer.unrolled(heard, heard, [])
        said = self.say(self.norm(states[:, :-1]))
        return [said[:, step:] for step in range(steps)]
