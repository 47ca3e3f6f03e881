"""What a reward sees: the rollouts of one prompt, and what belongs to the prompt."""

from __future__ import annotations

import math
from dataclasses import dataclass

from laconic.errors import GroupError


@dataclass(frozen=True, slots=True)
class Rollout:
    """One reply that was sampled for a prompt. Lengths are in tokens of the model that wrote it.

    Only ``tokens`` is always needed. What a reward reads and a rollout lacks (None) is a GroupError that names it.
    """

    tokens: int
    """Tokens in all, thought and answer, padding left out; 0 for an empty completion."""
    thought: int | None = None
    """Tokens of the thought, ``tokens`` at most."""
    right: bool | None = None
    """Whether the answer is right; None where nobody knows."""
    truncated: bool = False
    """Whether the limit on new tokens cut it off."""
    formatted: bool = True
    """Whether an answer could be read from it at all."""
    text: str | None = None
    """What was written, for rewards that look for words in it."""
    budget: int | None = None
    """Tokens that its prompt asked for."""
    repeats: bool | None = None
    """Whether it runs into a loop, saying the same again and again."""
    thought_entropy: float | None = None
    """Mean entropy of the model's distribution over the tokens of the thought, in nats."""
    answer_entropy: float | None = None
    """The same over the tokens of the answer."""
    path: tuple[int, ...] | None = None
    """In a tree of rollouts the nodes that it went through, from below the root to its own end; leaves of one tree that
    begin with the same nodes have the tokens of these in common."""
    hint: int | None = None
    """Tokens of a solution that it was given, which do not count as its own."""

    def __post_init__(self) -> None:
        if self.tokens < 0:
            raise GroupError(f"a rollout has {self.tokens} tokens.", "Lengths start at 0.")
        if self.thought is not None and not 0 <= self.thought <= self.tokens:
            raise GroupError(
                f"the thought of a rollout has {self.thought} tokens, and all of it has {self.tokens}.",
                "Count the thought in the same tokens as the whole, without padding.",
            )
        if self.budget is not None and self.budget < 0:
            raise GroupError(f"a rollout's budget is {self.budget} tokens.", "Budgets start at 0.")
        for name in ("thought_entropy", "answer_entropy"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise GroupError(f"a rollout's {name} is {value}.", "An entropy is finite and 0 or more.")


@dataclass(frozen=True, slots=True)
class Group:
    """The rollouts of one prompt, all from the same policy, with what belongs to the prompt rather than to one of them.

    Raises GroupError where there is no rollout, and for numbers that cannot be meant.
    """

    rollouts: tuple[Rollout, ...]
    step: int = 0
    """Updates of the model so far."""
    limit: int | None = None
    """Most tokens that a rollout could have: beyond them it was cut off."""
    effort: float | None = None
    """Share of its usual length that the prompt asked for."""
    reference: float | None = None
    """A length kept for this prompt from earlier: see :class:`laconic.training.base.Remembers`; None before any."""
    pass_rate: float | None = None
    """Share of right rollouts to this prompt in earlier groups, or of a reference model."""

    def __post_init__(self) -> None:
        if not self.rollouts:
            raise GroupError("a group has no rollouts.", "A group holds the replies to one prompt, at least one.")
        if self.limit is not None and self.limit < 1:
            raise GroupError(f"a group's limit is {self.limit} tokens.", "It must be 1 or more.")
        if self.step < 0:
            raise GroupError(f"a group's step is {self.step}.", "Steps start at 0.")
        for name, top in (("effort", math.inf), ("reference", math.inf), ("pass_rate", 1.0)):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and 0 <= value <= top):
                raise GroupError(f"a group's {name} is {value}.", f"It must be finite, from 0 to {top}.")

    def __len__(self) -> int:
        return len(self.rollouts)
