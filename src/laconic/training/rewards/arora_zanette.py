"""Arora and Zanette: a sigmoid of the standardised length takes away a share of what is right."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.training.base import Reward
from laconic.training.group import Group
from laconic.training.rewards.shared import right_lengths, rights, sigmoid, standardised


@knobs
class AroraZanette(Reward):
    """Right rollouts get ``1 - alpha * sigmoid((L - mean) / std)``, over the lengths of the right ones; wrong ones 0.

    Source: Training Language Models to Reason Efficiently (Arora and Zanette 2025), as described in the paper. The
    deviation is the sample's; where all right rollouts are equally long, and for a single one, the sigmoid's argument
    is 0. (A reimplementation in public sets mean 0 and deviation 1 for a single one, which punishes it in full.)
    """

    card = Card(paper="Training Language Models to Reason Efficiently", lossless=False, arxiv="2502.04463")

    alpha: Annotated[float, Field(ge=0, le=1)]
    """How much of the reward length can take away. The authors train one model for each of several values."""

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        known = right_lengths(group)
        return [
            1 - self.alpha * sigmoid(standardised(rollout.tokens, known)) if right else 0.0
            for rollout, right in zip(group.rollouts, rights(group), strict=True)
        ]
