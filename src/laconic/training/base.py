"""Contracts of training: a reward, and what some methods do besides rewarding, each a small protocol of its own.

A trainer asks ``isinstance(reward, Limits)`` and so on: whoever cannot do what a method needs must refuse it, since
half of a method is another method.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Sized
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, Self, runtime_checkable

from laconic.errors import GroupError, InvalidKnob, RewardError
from laconic.policy import Policy
from laconic.training.group import Group

if TYPE_CHECKING:
    import random

    import torch


class Reward(Policy):
    """Rewards the rollouts of a group. A reward is stateless: the same group gives the same numbers."""

    reads: ClassVar[tuple[str, ...]] = ()
    """Fields of Rollout and Group that it needs besides ``tokens`` and ``right``; see :mod:`laconic.training.group`."""
    truthful: ClassVar[bool] = True
    """Whether a right rollout never gets less than a wrong one of its group, with the default knobs. Tests hold it."""

    def rewards(self, group: Group) -> list[float]:
        """One finite number for each rollout, in order. Raises GroupError where the group lacks what is read."""
        raise NotImplementedError


@runtime_checkable
class Advantages(Protocol):
    """A method with advantages of its own in place of GRPO's."""

    def advantages(self, group: Group, rewards: Sequence[float]) -> list[float]:
        """One number for each rollout of the group."""
        ...


@runtime_checkable
class Batched(Protocol):
    """A method whose rewards depend on the other groups of the batch."""

    def batch_rewards(self, groups: Sequence[Group]) -> list[list[float]]:
        """Rewards of every group."""
        ...


@runtime_checkable
class BatchAdvantages(Protocol):
    """A method that normalises advantages over the batch rather than over each group."""

    def batch_advantages(self, rewards: Sequence[Sequence[float]]) -> list[list[float]]:
        """Advantages from the rewards of every group."""
        ...


@runtime_checkable
class Keeps(Protocol):
    """A method that learns from some rollouts only."""

    def keeps(self, group: Group, rewards: Sequence[float]) -> list[bool]:
        """Which rollouts of the group take part in the update."""
        ...


@runtime_checkable
class BatchKeeps(Protocol):
    """A method that learns from some rollouts only, and looks at the whole batch for it."""

    def batch_keeps(self, groups: Sequence[Group], rewards: Sequence[Sequence[float]]) -> list[list[bool]]:
        """Which rollouts of every group take part in the update."""
        ...


@runtime_checkable
class Limits(Protocol):
    """A method that changes the limit on new tokens while training goes on."""

    def limit(self, step: int) -> int:
        """Tokens that a rollout may have at this step."""
        ...


@runtime_checkable
class Updates(Protocol):
    """A method whose knobs are adjusted by what came of a batch."""

    def update(self, groups: Sequence[Group]) -> Self:
        """The same method as it shall be from the next step on; this one stays as it is."""
        ...


@runtime_checkable
class Remembers(Protocol):
    """A method that keeps a length for each prompt between its groups, handed back as ``Group.reference``."""

    def remember(self, group: Group) -> float | None:
        """What to keep from now on; None for nothing."""
        ...


@runtime_checkable
class Hints(Protocol):
    """A method whose rollouts must be told something, or the reward has no meaning."""

    said: ClassVar[Literal["question", "thought"]]
    """Where it is said: below the question, or at the beginning of the thought."""
    each: ClassVar[bool]
    """Whether the rollouts of a group have budgets of their own, rather than one for all."""

    def hint(self, group: Group) -> list[str]:
        """For each rollout the text to say."""
        ...


@runtime_checkable
class Cuts(Protocol):
    """A method whose group is one thought, cut at several places and answered from there."""

    def cuts(self, thought: int, random: random.Random) -> list[int]:
        """Lengths in tokens, ascending, at which a thought of ``thought`` tokens is cut."""
        ...


@runtime_checkable
class TokenLoss(Protocol):
    """A method with a loss of its own for each token."""

    def token_loss(self, log_probs: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
        """Loss of every token. ``log_probs``, ``old``: [rollouts, tokens]; ``advantages`` broadcasts to that."""
        ...


@runtime_checkable
class GroupLoss(Protocol):
    """A method with a loss of its own for each group."""

    def group_loss(self, group: Group, scores: torch.Tensor) -> torch.Tensor:
        """Loss of a group. ``scores``: [rollouts], each the mean log-probability of a rollout's tokens."""
        ...


BESIDES: tuple[type, ...] = (
    Advantages, Batched, BatchAdvantages, Keeps, BatchKeeps, Limits, Updates, Remembers, Hints, Cuts,
    TokenLoss, GroupLoss,
)  # fmt: skip
"""All that a method may be besides a reward."""


def besides(reward: Reward) -> list[str]:
    """Names of the protocols that ``reward`` keeps besides rewarding, e.g. ``["Limits"]``."""
    return [protocol.__name__ for protocol in BESIDES if isinstance(reward, protocol)]


def reads(reward: Reward) -> set[str]:
    """All fields that ``reward`` and the rewards within it need; see :attr:`Reward.reads`."""
    return {name for each in reward.walk() if isinstance(each, Reward) for name in each.reads}


def plain(name: str, reward: Reward) -> None:
    """Raise InvalidKnob unless ``reward`` only rewards: within ``name`` the rest of it would be left out."""
    more = besides(reward)
    if more:
        raise InvalidKnob(
            f"'{reward.name}' is more than a reward ({', '.join(more)}), which would be left out within '{name}'.",
            "Choose one that is only a reward.",
        )


def checked(name: str, rewards: Sequence[float | None], group: Group) -> list[float]:
    """``rewards`` as they are. Raises RewardError where one is missing, None or no finite number."""
    if len(rewards) != len(group):
        raise RewardError(f"'{name}' gave {len(rewards)} rewards for {len(group)} rollouts.")
    numbers = [value for value in rewards if value is not None and math.isfinite(value)]
    if len(numbers) < len(rewards):
        bad = next(value for value in rewards if value is None or not math.isfinite(value))
        raise RewardError(f"'{name}' gave the reward {bad}.", "A mean over it would spoil the whole group.")
    return numbers


def matched(group: Group, values: Sized, what: str) -> None:
    """Raise GroupError unless there is one value for each rollout."""
    if len(values) != len(group):
        raise GroupError(f"{len(values)} {what} for a group of {len(group)}.", "Give one for each rollout, in order.")
