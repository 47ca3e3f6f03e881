"""Hydra: Medusa's networks, which are told the tokens that were drafted before theirs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from laconic.speculation.drafters.head.contract import Shape, Span
from laconic.speculation.drafters.head.output import Outputs, Residual


class Hydra(Outputs):
    """Hydra (Ankner et al. 2024, arXiv 2402.05109): network i reads the target's last state and the i tokens after it.

    The first of these tokens is the target's own choice. A state holds all of that side by side, ``[1 + heads,
    width]``.
    """

    def __init__(self, shape: Shape, *, heads: int = 4) -> None:
        super().__init__(shape)
        self.depth = heads
        self.joins = nn.ModuleList(nn.Linear((2 + i) * shape.width, shape.width) for i in range(heads))
        self.blocks = nn.ModuleList(Residual(shape.width) for _ in range(heads))

    def read(self, heard: Tensor, features: Tensor, spans: Sequence[Span]) -> Tensor:
        """The target's last state, normed, and what is heard of its choice."""
        rest = features.new_zeros(len(features), self.depth or 0, self.shape.width)
        rest[:, 0] = _scaled(heard)
        return torch.cat([self.norm(features[:, -1])[:, None], rest], 1)

    def step(self, states: Tensor, heard: Tensor, depths: Sequence[int], spans: Sequence[Span]) -> Tensor:
        """A token more."""
        states = states.clone()
        for row, depth in enumerate(depths):
            if depth + 2 < states.shape[1]:  # below the last token nothing is asked
                states[row, depth + 2] = _scaled(heard[row])
        return states

    def logits(self, states: Tensor, depths: Sequence[int]) -> Tensor:
        """By the network of each depth."""
        pairs = zip(states, depths, strict=True)
        return self.say(torch.stack([self._made(state[: depth + 2].flatten(), depth) for state, depth in pairs]))

    def _made(self, known: Tensor, depth: int) -> Tensor:
        """The state ``[..., width]`` behind the output, from all that is known, end to end."""
        width = self.shape.width
        made: Tensor = self.blocks[depth](known[..., :width] + F.silu(self.joins[depth](known)))
        return made

    def unrolled(self, heard: Tensor, features: Tensor, steps: int) -> list[Tensor]:
        """Every network at every place."""
        known = self.norm(features[..., -1, :])
        heard = _scaled(heard)
        found = []
        for step in range(min(steps, len(self.joins))):
            left = heard.shape[1] - step
            known = torch.cat([known[:, :left], heard[:, step:]], -1)
            found.append(self.say(self._made(known[:, :-1], step)))
        return found


def _scaled(heard: Tensor) -> Tensor:
    """Of length 1 a dimension, like the state beside it."""
    return F.rms_norm(heard, heard.shape[-1:])
