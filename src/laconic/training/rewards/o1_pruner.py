"""O1-Pruner: shorter than a reference model, and not less often right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.training.base import Reward, matched
from laconic.training.group import Group
from laconic.training.rewards.shared import clip, present, rights


@knobs
class O1Pruner(Reward):
    """``L_ref / L - 1 + alpha * (right - accuracy_ref)``, clipped: the weight of a rollout in off-policy fine-tuning.

    Source: O1-Pruner, the reward as described in the paper; the clipping is that of the authors' code. The group's
    ``reference`` is the reference model's mean length for this prompt, its ``pass_rate`` that model's accuracy, both
    sampled beforehand. The weight itself is the advantage: no mean of the group is taken off. (The authors' code also
    standardises the weights over the whole data set, which no group can know of.) A length of 0 counts as 1.
    Trap: a wrong rollout is rewarded for being short, so with a small ``alpha`` it can beat a right one of usual
    length.
    """

    card = Card(paper="O1-Pruner", lossless=False, catalogue=(141,))
    reads = ("reference", "pass_rate")
    truthful = False

    alpha: Annotated[float, Field(ge=0)]
    """What being right counts against length; the authors' value is not confirmed, so give one."""
    low: float = -2.0
    """The smallest weight."""
    high: float = 4.0
    """The largest weight."""

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        length = present(group.reference, "reference", "group")
        accuracy = present(group.pass_rate, "pass_rate", "group")
        return [
            clip(length / max(rollout.tokens, 1) - 1 + self.alpha * (right - accuracy), self.low, self.high)
            for rollout, right in zip(group.rollouts, rights(group), strict=True)
        ]

    def advantages(self, group: Group, rewards: Sequence[float]) -> list[float]:
        """The rewards themselves."""
        matched(group, rewards, "rewards")
        return list(rewards)
