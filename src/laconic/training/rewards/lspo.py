"""LSPO: learn from the problems with the shortest and the longest rollouts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from laconic.errors import InvalidKnob
from laconic.policy import Card, knobs
from laconic.training.base import Reward, checked, matched, plain
from laconic.training.group import Group
from laconic.training.rewards.shared import lengths, mean, quantile


@knobs
class LSPO(Reward):
    """The rewards of ``reward``; learned from are the groups whose mean length is among the shortest or longest.

    Source: LSPO (length-aware dynamic sampling), as described in the paper: of the groups whose rewards differ, a step
    keeps those with a mean length up to the quantile ``short`` of the step's groups, and from the quantile ``long`` to
    ``longest``. Quantiles are those of the groups that differ. The paper samples further problems until a step is full
    again; here a step is smaller instead. The authors' values are not confirmed, so give some.
    Trap: in a step of few problems quantiles are coarse. The shortest and the longest problem are always kept, but for
    ``longest`` below 1.
    """

    card = Card(paper="LSPO: Length-aware Dynamic Sampling for Policy Optimization", lossless=False, catalogue=(133,))

    reward: Reward
    """What is rewarded."""
    short: Annotated[float, Field(ge=0, le=1)]
    """Quantile up to which groups are short."""
    long: Annotated[float, Field(ge=0, le=1)]
    """Quantile from which they are long."""
    longest: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Quantile beyond which they are too long."""

    def __post_init__(self) -> None:
        plain(self.name, self.reward)
        if not self.short <= self.long <= self.longest:
            raise InvalidKnob(f"'{self.name}' needs short <= long <= longest.")

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        return self.reward.rewards(group)

    def batch_keeps(self, groups: Sequence[Group], rewards: Sequence[Sequence[float]]) -> list[list[bool]]:
        """All of a group, or none of it."""
        for group, given in zip(groups, rewards, strict=True):
            matched(group, checked(self.name, given, group), "rewards")
        differ = [len(set(given)) > 1 for given in rewards]
        means = [mean(lengths(group)) for group in groups]
        known = [value for value, is_one in zip(means, differ, strict=True) if is_one]
        if not known:
            return [[False] * len(group) for group in groups]
        short, long, longest = (quantile(known, share) for share in (self.short, self.long, self.longest))
        kept = [is_one and (m <= short or long <= m <= longest) for m, is_one in zip(means, differ, strict=True)]
        return [[keep] * len(group) for group, keep in zip(groups, kept, strict=True)]
