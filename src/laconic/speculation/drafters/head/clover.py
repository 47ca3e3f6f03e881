"""Clover: the target's states, seen once more along the text, then one block for each drafted token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from laconic.speculation.drafters.head.block import Norm, StateLayer
from laconic.speculation.drafters.head.contract import Shape, Span
from laconic.speculation.drafters.head.output import LayerAndOutputs, Residual


class Clover(LayerAndOutputs):
    """Clover (Xiao et al. 2024, arXiv 2405.00263): a decoder layer over the target's last states, then a block a token.

    The layer ("augmenting block") tells each state of the text before it. Block i joins what came out of the one before
    with the i-th token ("regressive connection"): attention from the state to that one token, which is a projection of
    it. The authors give every block an output of its own; here they share one, which is most of the weights.
    """

    def __init__(self, shape: Shape, *, heads: int = 4) -> None:
        super().__init__(shape, StateLayer(shape))
        self.depth = heads
        self.norms = nn.ModuleList(Norm(shape.width, shape.eps) for _ in range(heads))
        self.joins = nn.ModuleList(nn.Linear(shape.width, shape.width, bias=False) for _ in range(heads))
        self.blocks = nn.ModuleList(Residual(shape.width) for _ in range(heads))

    def read(self, heard: Tensor, features: Tensor, spans: Sequence[Span]) -> Tensor:
        """Along committed text: the layer, then the block of the target's own choice."""
        return self._next(self.layer(heard, features[:, -1], spans), heard, 0)

    def step(self, states: Tensor, heard: Tensor, depths: Sequence[int], spans: Sequence[Span]) -> Tensor:
        """The next block; below the last token nothing is asked."""
        last = len(self.blocks) - 1
        rows = zip(states, heard, depths, strict=True)
        return torch.stack([self._next(state, one, min(depth + 1, last)) for state, one, depth in rows])

    def logits(self, states: Tensor, depths: Sequence[int]) -> Tensor:
        """The same at every depth."""
        return self.say(self.norm(states))

    def _next(self, states: Tensor, heard: Tensor, depth: int) -> Tensor:
        told = self.joins[depth](F.rms_norm(heard, heard.shape[-1:]))
        made: Tensor = self.blocks[depth](self.norms[depth](states) + told)
        return made

    def unrolled(self, heard: Tensor, features: Tensor, steps: int) -> list[Tensor]:
        """Every block at every place."""
        states = self.layer.unrolled(heard, features[..., -1, :], [])
        found = []
        for step in range(min(steps, len(self.blocks))):
            left = heard.shape[1] - step
            states = self._next(states[:, :left], heard[:, step:], step)
            found.append(self.say(self.norm(states[:, :-1])))
        return found
