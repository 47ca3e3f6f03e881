"""The plain outcome reward."""

from __future__ import annotations

from laconic.policy import Card, knobs
from laconic.training.base import Reward
from laconic.training.group import Group
from laconic.training.rewards.shared import rights


@knobs
class Outcome(Reward):
    """1 where the answer is right, else 0: what every length-aware reward is held against.

    Source: the accuracy reward of DeepSeek-R1 with GRPO (Shao et al. 2024). Length plays no part, and with GRPO's loss,
    which divides by a rollout's length, long wrong rollouts are pushed away from the least: lengths grow.
    """

    card = Card(paper="DeepSeekMath (GRPO)", lossless=False, arxiv="2402.03300")

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        return [float(right) for right in rights(group)]
