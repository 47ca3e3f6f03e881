"""LASER, LASER-D and LASER-DE: a step at a target length, the same for all or by difficulty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.training.base import Reward
from laconic.training.group import Group
from laconic.training.rewards.shared import accuracy, lengths, present, right_lengths, rights

Tokens = Annotated[int, Field(ge=0)]
Level = Literal["easy", "medium", "hard"]


@knobs
class Laser(Reward):
    """Right rollouts of at most ``target`` tokens get ``weight`` more; wrong ones get 0.

    Source: LASER, the step reward as described in the paper (alpha 0.5). A wrong rollout gets 0 here; the authors' code
    gives it -0.5, which widens the gap between right and wrong.
    Trap: beyond the target nothing tells a slightly too long rollout from one at the limit.
    """

    card = Card(paper="LASER", lossless=False, catalogue=(201,))

    target: Tokens
    """Tokens of the longest rollout that is rewarded for its length."""
    weight: Annotated[float, Field(ge=0)] = 0.5
    """What keeping to it adds."""

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        return _step(group, self.target, self.weight)


class ByDifficulty(Reward):
    """What LASER-D and LASER-DE share: a target for each level of difficulty, which the groups of a batch move.

    A group is easy where two thirds or more of its rollouts are right, medium from one third on, else hard.
    """

    easy: int
    medium: int
    hard: int
    weight: float

    def target(self, group: Group) -> int:
        """Tokens that are rewarded in this group."""
        return int(getattr(self, level(group)))

    def update(self, groups: Sequence[Group]) -> Self:
        """With the targets that follow from monitored groups; a level without a right rollout keeps its own.

        The target of a level is the smallest length within which one right rollout is expected: the share of its right
        rollouts up to that length, times the fewest right ones that a group of the level has (two thirds or one third
        of its size, rounded down, and 1), is 1 or more. Every length seen is tried, where the authors' code has a grid.
        """
        found: dict[Level, int] = {}
        for name in ("easy", "medium", "hard"):
            of_it = [group for group in groups if level(group) == name]
            known = sorted(length for group in of_it for length in right_lengths(group))
            if known:
                fewest = max(1, {"easy": 2, "medium": 1, "hard": 0}[name] * len(of_it[0]) // 3)
                found[name] = known[-(-len(known) // fewest) - 1]
        return replace(self, **found)


@knobs
class LaserD(ByDifficulty):
    """As ``laser``, with a target for each level of difficulty, which the share of right rollouts in the group tells.

    Source: LASER-D; levels and weight as in the authors' code, targets re-estimated (:meth:`update`) from groups that
    are sampled for a monitored set of prompts. The targets given are those of the first steps.
    Trap: the estimate takes the size of a level's first group for that of all.
    """

    card = Card(paper="LASER-D", lossless=False, catalogue=(201,))

    easy: Tokens
    """Target of groups in which two thirds or more are right."""
    medium: Tokens
    """Target of groups in which one third or more are."""
    hard: Tokens
    """Target of the others."""
    weight: Annotated[float, Field(ge=0)] = 0.5
    """What keeping to the target adds."""

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        return _step(group, self.target(group), self.weight)


@knobs
class LaserDE(ByDifficulty):
    """As ``laser-d``, and wrong rollouts beyond the target that do not repeat themselves get ``weight`` too.

    Source: LASER-DE, as in the authors' code: on what is not solved, exploring further is encouraged. Reads ``repeats``
    of wrong rollouts beyond the target.
    Trap: among wrong rollouts the longest are now the best, so a group without a right one teaches length alone.
    """

    card = Card(paper="LASER-DE", lossless=False, catalogue=(201,))
    reads = ("repeats",)

    easy: Tokens
    """Target of groups in which two thirds or more are right."""
    medium: Tokens
    """Target of groups in which one third or more are."""
    hard: Tokens
    """Target of the others."""
    weight: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """What keeping to the target, or exploring beyond it, adds; below 1, so that right stays above wrong."""

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        target, plain = self.target(group), _step(group, self.target(group), self.weight)
        explores = [
            not right and rollout.tokens > target and not present(rollout.repeats, "repeats")
            for rollout, right in zip(group.rollouts, rights(group), strict=True)
        ]
        return [value + self.weight * further for value, further in zip(plain, explores, strict=True)]


def level(group: Group) -> Level:
    """How hard a prompt is for the model that answers it."""
    right = accuracy(group)
    return "easy" if right >= 2 / 3 else "medium" if right >= 1 / 3 else "hard"


def _step(group: Group, target: int, weight: float) -> list[float]:
    return [
        1 + weight * (length <= target) if right else 0.0
        for length, right in zip(lengths(group), rights(group), strict=True)
    ]
