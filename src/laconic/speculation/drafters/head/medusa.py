"""Medusa: one small network for each token ahead, all from one state of the target."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from laconic.speculation.drafters.head.contract import Shape, Span
from laconic.speculation.drafters.head.output import Outputs, Residual


class Medusa(Outputs):
    """Medusa-1 (Cai et al. 2024, arXiv 2401.10774): ``heads`` residual blocks over the target's last state.

    None of them sees what was drafted, not even the token that the target has just chosen. The authors give every block
    an output of its own; here they share one, which is most of the weights.
    """

    def __init__(self, shape: Shape, *, heads: int = 4) -> None:
        super().__init__(shape)
        self.depth = heads
        self.blocks = nn.ModuleList(Residual(shape.width) for _ in range(heads))

    def read(self, heard: Tensor, features: Tensor, spans: Sequence[Span]) -> Tensor:
        """The target's last state, normed."""
        return self.norm(features[..., -1, :])  # type: ignore[no-any-return]

    def step(self, states: Tensor, heard: Tensor, depths: Sequence[int], spans: Sequence[Span]) -> Tensor:
        """The same state."""
        return states

    def logits(self, states: Tensor, depths: Sequence[int]) -> Tensor:
        """By the block of each depth."""
        return self.say(torch.stack([self.blocks[depth](state) for state, depth in zip(states, depths, strict=True)]))

    def unrolled(self, heard: Tensor, features: Tensor, steps: int) -> list[Tensor]:
        """Every block at every place."""
        states = self.norm(features[..., -1, :])
        length = states.shape[1]
        return [
            self.say(self.blocks[step](states[:, : length - 1 - step])) for step in range(min(steps, len(self.blocks)))
        ]
