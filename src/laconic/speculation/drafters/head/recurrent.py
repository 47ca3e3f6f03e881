"""A recurrent network that drafts on from its own state, without a look at the text behind it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from laconic.speculation.drafters.head.block import Norm
from laconic.speculation.drafters.head.contract import Shape, Span
from laconic.speculation.drafters.head.output import Outputs, Residual


class Recurrent(Outputs):
    """Recurrent Drafter (Zhang et al. 2024, arXiv 2403.09919): ``s' = SiLU(U s + W e + b)``, then residual blocks.

    It begins at the target's last state. A draft costs the same however long the text is, and no memory.
    """

    def __init__(self, shape: Shape, *, blocks: int = 2) -> None:
        super().__init__(shape)
        self.enter = nn.Linear(2 * shape.width, shape.width)
        self.state_norm = Norm(shape.width, shape.eps)
        self.blocks = nn.Sequential(*(Residual(shape.width) for _ in range(blocks)))

    def read(self, heard: Tensor, features: Tensor, spans: Sequence[Span]) -> Tensor:
        """From the target's last state and its choice."""
        return self._next(features[..., -1, :], heard)

    def step(self, states: Tensor, heard: Tensor, depths: Sequence[int], spans: Sequence[Span]) -> Tensor:
        """A token further."""
        return self._next(states, heard)

    def logits(self, states: Tensor, depths: Sequence[int]) -> Tensor:
        """The same at every depth."""
        return self.say(self.norm(self.blocks(states)))

    def _next(self, states: Tensor, heard: Tensor) -> Tensor:
        known = torch.cat([self.state_norm(states), F.rms_norm(heard, heard.shape[-1:])], -1)
        return states + F.silu(self.enter(known))

    def unrolled(self, heard: Tensor, features: Tensor, steps: int) -> list[Tensor]:
        """Drafts of ``steps`` tokens from every place."""
        states = features[..., -1, :]
        found = []
        for step in range(steps):
            left = heard.shape[1] - step
            states = self._next(states[:, :left], heard[:, step:])
            found.append(self.say(self.norm(self.blocks(states[:, :-1]))))
        return found
