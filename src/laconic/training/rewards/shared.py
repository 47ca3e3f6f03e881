"""Pieces that rewards are made of: who is right, reference lengths, shapes. Lengths are in tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

from laconic.errors import GroupError
from laconic.training.group import Group, Rollout

T = TypeVar("T")


def rights(group: Group) -> list[bool]:
    """Whether each rollout is right. Raises GroupError where nobody knows."""
    return [present(rollout.right, "right") for rollout in group.rollouts]


def lengths(group: Group) -> list[int]:
    """Tokens of each rollout."""
    return [rollout.tokens for rollout in group.rollouts]


def thoughts(group: Group) -> list[int]:
    """Tokens of each rollout's thought. Raises GroupError where they were not counted."""
    return [present(rollout.thought, "thought") for rollout in group.rollouts]


def right_lengths(group: Group) -> list[int]:
    """Tokens of the right rollouts."""
    return [rollout.tokens for rollout, right in zip(group.rollouts, rights(group), strict=True) if right]


def accuracy(group: Group) -> float:
    """Share of the rollouts that are right."""
    return mean(rights(group))


def budgets(group: Group) -> list[int]:
    """Tokens that each rollout was asked for. Raises GroupError where it was asked for none."""
    return [present(rollout.budget, "budget") for rollout in group.rollouts]


def limit(group: Group) -> int:
    """The group's limit on tokens. Raises GroupError where it has none, and for rollouts beyond it."""
    most = present(group.limit, "limit", "group")
    if max(lengths(group)) > most:
        raise GroupError(f"a rollout has {max(lengths(group))} tokens, and the group's limit is {most}.")
    return most


def complete(rollout: Rollout) -> bool:
    """Whether a rollout is right and was not cut off."""
    return present(rollout.right, "right") and not rollout.truncated


def present(value: T | None, name: str, where: str = "rollout") -> T:
    """``value``. Raises GroupError where it is None, naming what is missing."""
    if value is None:
        raise GroupError(f"a {where} lacks '{name}', which this reward reads.", f"Set {name} on every {where}.")
    return value


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean of one value or more."""
    return math.fsum(values) / len(values)


def deviation(values: Sequence[float]) -> float:
    """The sample standard deviation (n - 1); 0 for a single value."""
    middle = mean(values)
    squares = math.fsum((value - middle) ** 2 for value in values)
    return math.sqrt(squares / (len(values) - 1)) if len(values) > 1 else 0.0


def standardised(value: float, values: Sequence[float]) -> float:
    """How many standard deviations ``value`` lies above the mean of ``values``; 0 where all of these are the same."""
    spread = deviation(values)
    return (value - mean(values)) / spread if spread else 0.0


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of the values lie, linear between neighbours.

    >>> quantile([10, 20, 40], 0.75)
    30.0
    """
    ranked = sorted(values)
    at = share * (len(ranked) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (ranked[high] - ranked[low]) * (at - low)


def sigmoid(x: float) -> float:
    """The logistic function, without overflow on either side."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def clip(value: float, low: float, high: float) -> float:
    """``value``, or the end of the range beyond which it lies."""
    return max(low, min(high, value))


def first(name: str, k: int, rank: Sequence[float]) -> list[bool]:
    """Which rollouts of a group are among the ``k`` of lowest rank, of equals the earlier in the group.

    Raises GroupError for a group that is smaller, in the name of the reward.
    """
    if len(rank) < k:
        raise GroupError(
            f"'{name}' keeps {k} rollouts of a group, and this one has {len(rank)}.",
            "Sample more rollouts for each prompt, or lower its knob k.",
        )
    kept = sorted(range(len(rank)), key=rank.__getitem__)[:k]
    return [at in kept for at in range(len(rank))]
