"""GPPO: clipped tokens keep a gradient."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from laconic.policy import Card, knobs
from laconic.training.base import Reward
from laconic.training.group import Group
from laconic.training.rewards.shared import rights


@knobs
class GPPO(Reward):
    """Outcome rewards with a loss whose clipped tokens still pass on a gradient, bounded by the clip.

    Source: Klear-Reasoner (gradient-preserving clipping policy optimization), as described in the paper. The value of
    the loss is PPO's. Where PPO's ratio ``q`` is clipped to ``c``, its gradient is 0; here it is that of
    ``c * q / stop_gradient(q)``. Length plays no part: it is here because it is trained and compared with the others.
    """

    card = Card(paper="Klear-Reasoner (GPPO)", lossless=False, catalogue=(276,))

    low: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """How far the ratio may fall below 1; PPO's usual value, since the authors' could not be confirmed."""
    high: Annotated[float, Field(gt=0)] = 0.2
    """How far it may rise above 1."""

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        return [float(right) for right in rights(group)]

    def token_loss(self, log_probs: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
        """Loss of every token. ``log_probs``, ``old``: [rollouts, tokens]; ``advantages`` broadcasts to that."""
        ratio = (log_probs - old).exp()
        clipped = ratio.detach().clamp(1 - self.low, 1 + self.high)
        return -torch.minimum(ratio * advantages, clipped * (ratio / ratio.detach()) * advantages)
