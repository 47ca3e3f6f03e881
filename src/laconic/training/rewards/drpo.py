"""DRPO: what is right is compared with what is right alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field

from laconic.policy import Card, knobs
from laconic.training.base import Reward, matched
from laconic.training.group import Group
from laconic.training.rewards.shared import lengths, limit, rights


@knobs
class DRPO(Reward):
    """Right rollouts are weighed among themselves by ``softmax(r / temperature)``, ``r = 1 - L / limit``.

    Source: Decoupled Reward Policy Optimization (DRPO), equation 7. The loss of a group (:meth:`group_loss`) is
    ``-sum w_i s_i`` over the right rollouts, plus ``tau * log mean exp(s / tau)`` over the wrong ones, with ``s`` the
    mean log-probability of a rollout's tokens; a group without either adds nothing. A trainer adds the penalty on the
    divergence from the sampling policy, :meth:`divergence_penalty`, once a batch. :meth:`advantages` are the loss's
    negative derivatives by ``s`` at equal ``s``: no right rollout's is ever negative, which is the point. Reads the
    group's ``limit``.
    """

    card = Card(paper="DRPO: Decoupled Reward Policy Optimization", lossless=False, catalogue=(11,))
    reads = ("limit",)

    temperature: Annotated[float, Field(gt=0)]
    """The smaller, the more the shortest right rollout counts; the authors try several values."""
    tau: Annotated[float, Field(gt=0)] = 10.0
    """The smaller, the more the likeliest wrong rollout counts."""
    beta: Annotated[float, Field(ge=0)] = 1000.0
    """Weight of the penalty on divergence."""
    delta: Annotated[float, Field(ge=0)] = 1e-4
    """Divergence that costs nothing."""

    def rewards(self, group: Group) -> list[float]:
        """The length reward ``r`` of right rollouts, 0 for wrong ones."""
        most = limit(group)
        return [1 - n / most if right else 0.0 for n, right in zip(lengths(group), rights(group), strict=True)]

    def weights(self, group: Group) -> list[float]:
        """How much each right rollout counts, 1 in all; 0 for wrong ones."""
        right, rewards = rights(group), self.rewards(group)
        best = max((r for r, ok in zip(rewards, right, strict=True) if ok), default=0.0)
        raw = [math.exp((r - best) / self.temperature) if ok else 0.0 for r, ok in zip(rewards, right, strict=True)]
        return [value / (math.fsum(raw) or 1.0) for value in raw]

    def advantages(self, group: Group, rewards: Sequence[float]) -> list[float]:
        """See the class; they follow from the group alone."""
        matched(group, rewards, "rewards")
        right = rights(group)
        if all(right) or not any(right):
            return [0.0] * len(group)
        wrong = -1 / (len(group) - sum(right))
        return [weight if ok else wrong for weight, ok in zip(self.weights(group), right, strict=True)]

    def group_loss(self, group: Group, scores: torch.Tensor) -> torch.Tensor:
        """See the class. ``scores``: [rollouts]; gives a single number."""
        matched(group, scores, "scores")
        right = torch.tensor(rights(group), device=scores.device)
        if right.all() or not right.any():
            return scores.sum() * 0
        weights = torch.tensor(self.weights(group), device=scores.device, dtype=scores.dtype)
        wrong = scores[~right] / self.tau
        return self.tau * (wrong.logsumexp(0) - math.log(len(wrong))) - (weights * scores).sum()

    def divergence_penalty(self, divergence: torch.Tensor) -> torch.Tensor:
        """``beta / 2 * max(divergence - delta, 0)^2``."""
        return self.beta / 2 * (divergence - self.delta).clamp(min=0) ** 2
