"""The contract of a rollout plan, and what it is given to make a step's rollouts with.

Without a plan every problem of a step has the same number of independent rollouts, each from the prompt alone. A plan
makes others of the same number in all. It is stateless: what it does depends on the step, the seed and the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Protocol, runtime_checkable

from laconic.policy import Policy
from laconic.training.group import Group
from laconic.types import Request, Result


@dataclass(frozen=True, slots=True)
class Planned:
    """One rollout of a step, as it will be learned from: ``completion`` is, ``prompt`` is not."""

    problem: int
    """Which of the step's problems it belongs to, from 0."""
    prompt: tuple[int, ...]
    """All that was given: the problem's prompt, and what the plan says behind it."""
    completion: tuple[int, ...]
    """All that was written."""
    path: tuple[int, ...] = ()
    """The nodes of a tree that it went through, below the root: see :attr:`~laconic.training.group.Rollout.path`."""
    hint: int = 0
    """Tokens of a solution that it was given."""


class Step(Protocol):
    """A step of training, while its rollouts are made."""

    @property
    def asked(self) -> Sequence[Request]:
        """What each problem asks for, without seeds."""
        ...

    @property
    def size(self) -> int:
        """Rollouts for each problem, on average."""
        ...

    def run(self, requests: Sequence[Request], problems: Sequence[int], part: int) -> list[Result]:
        """Sample: one result for each request, in order. Every request gets a seed of its own; ``problems`` says whose
        each is, and ``part`` must be another number in each call of a step."""
        ...

    def solution(self, problem: int) -> tuple[int, ...]:
        """A right completion of the problem, from its data; empty where there is none."""
        ...

    def right(self, problem: int, completion: Sequence[int]) -> bool:
        """Whether a reply to the problem, all that follows its own prompt, is right."""
        ...

    def words(self, problem: int) -> range:
        """After how many tokens of the solution a hint may end: within its words, before its thought is closed and
        before its answer. Empty where there is no solution."""
        ...

    def request(self, problem: int, begun: Sequence[int], limit: int) -> Request:
        """Asks for what follows a beginning of the problem's completion, in ``limit`` new tokens at most."""
        ...

    def gradient(self, problem: int, completion: Sequence[int]) -> float:
        """Norm of the gradient of a completion's log-probability, with respect to the output layer's weights."""
        ...

    def random(self, problem: int) -> Random:
        """Random numbers for decisions on a problem, the same for the same seed, step and problem."""
        ...

    @property
    def limit(self) -> int:
        """New tokens that a rollout may have."""
        ...


class Plan(Policy):
    """Makes the rollouts of a step."""

    solutions: ClassVar[bool] = False
    """Whether it has a use for solutions in the data."""
    prompted: ClassVar[bool] = False
    """Whether it says parts of them behind the prompt, which needs room in the model's context."""

    def rollouts(self, step: Step) -> list[Planned]:
        """``step.size`` for each problem on average, those of a problem beside each other, in the problems' order.

        Every problem must have one at least.
        """
        raise NotImplementedError

    def check(self, size: int, limit: int) -> None:
        """Raise RecipeError for knobs that do not go with groups of ``size`` and ``limit`` new tokens."""


@runtime_checkable
class Weighs(Protocol):
    """A plan whose rollouts are no independent ones, and that has advantages of its own for that."""

    def step_advantages(self, groups: Sequence[Group], rewards: Sequence[Sequence[float]]) -> list[list[float]]:
        """Advantages of all rollouts of a step from their rewards."""
        ...
