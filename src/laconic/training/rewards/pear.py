"""PEAR: uncertainty in the thought, beyond that of the answer."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.training.base import Reward
from laconic.training.group import Group, Rollout
from laconic.training.rewards.shared import clip, present, rights


@knobs
class PEAR(Reward):
    """Right rollouts get 1 minus the excess ``H(thought) - alpha * H(answer)`` of mean entropies; wrong ones 0.

    Source: PEAR, as described in the paper. The penalty is kept between 0 and 1 here, so that right stays above wrong;
    the paper's own bounds could not be confirmed. Entropies are in nats, measured by whoever samples.
    Traps: a model can lower the penalty by being surer rather than shorter, or by an unsure answer where ``alpha`` is
    large. An entropy at a sampling temperature is another one than at temperature 1.
    """

    card = Card(paper="PEAR: Phase Entropy Aware Reward", lossless=False, catalogue=(28,))
    reads = ("thought_entropy", "answer_entropy")

    alpha: Annotated[float, Field(ge=0)]
    """How much of the answer's entropy is allowed to the thought; the authors' value is not confirmed, so give one."""

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        pairs = zip(group.rollouts, rights(group), strict=True)
        return [1 - self._penalty(rollout) if right else 0.0 for rollout, right in pairs]

    def _penalty(self, rollout: Rollout) -> float:
        thought = present(rollout.thought_entropy, "thought_entropy")
        return clip(thought - self.alpha * present(rollout.answer_entropy, "answer_entropy"), 0, 1)
