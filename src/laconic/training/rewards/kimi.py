"""Kimi k1.5: shortest and longest of the group."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.training.base import Reward
from laconic.training.group import Group
from laconic.training.rewards.shared import lengths, rights


@knobs
class Kimi(Reward):
    """A linear length reward between the shortest and the longest rollout of the group, right or wrong.

    Source: Kimi k1.5 (2025), the length penalty as described in the report: with
    ``g = 0.5 - (L - min) / (max - min)``, a right rollout gets ``1 + weight * g``, a wrong one ``weight * min(0, g)``;
    ``g`` is 0 where all are equally long. No length reward is given before ``warmup`` steps.
    Traps: lengths of wrong rollouts count for min and max, so one long failure makes every right rollout look short;
    and the scale is the group's own, so that a spread of three tokens is worth as much as one of three thousand.
    """

    card = Card(paper="Kimi k1.5", lossless=False, catalogue=(162,))

    weight: Annotated[float, Field(ge=0)] = 0.4
    """What the length reward counts beside the outcome. The report leaves it open; 0.4 is that of LASER's authors."""
    warmup: Annotated[int, Field(ge=0)] = 0
    """Steps without a length reward. The report has such a phase, and leaves its length open."""

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        long, right = lengths(group), rights(group)
        shortest, spread = min(long), max(long) - min(long)
        weight = self.weight if group.step >= self.warmup else 0.0
        shaped = [0.5 - (length - shortest) / spread if spread else 0.0 for length in long]
        return [1 + weight * g if ok else weight * min(0.0, g) for g, ok in zip(shaped, right, strict=True)]
