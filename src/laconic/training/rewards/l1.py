"""L1: as long as the prompt says, or no longer."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.training.base import Reward
from laconic.training.group import Group
from laconic.training.rewards.shared import budgets, clip, lengths, rights


@knobs
class L1Exact(Reward):
    """``right - alpha * |n - L|`` for a rollout that was asked to think for ``n`` tokens.

    Source: L1 (LCPO-Exact), the reward as described in the paper; ``alpha`` is that of the authors' code. ``n`` is the
    rollout's ``budget``, drawn anew for each prompt, and :meth:`hint` is added to the question.
    Trap: a wrong rollout of exactly ``n`` tokens gets 0, more than a right one that is ``1 / alpha`` tokens off.
    """

    card = Card(paper="L1 (LCPO-Exact)", lossless=False, catalogue=(52,))
    reads = ("budget",)
    said: ClassVar[Literal["question", "thought"]] = "question"
    each = False
    truthful = False

    alpha: Annotated[float, Field(ge=0)] = 1 / 3000
    """What a token too many or too few costs."""

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        asked = zip(rights(group), budgets(group), lengths(group), strict=True)
        return [right - self.alpha * abs(n - length) for right, n, length in asked]

    def hint(self, group: Group) -> list[str]:
        """The sentence behind the question."""
        return [f"Think for {n} tokens." for n in budgets(group)]


@knobs
class L1Max(Reward):
    """``right * clip(alpha * (n - L) + delta, 0, 1)`` for a rollout that was asked for ``n`` tokens at most.

    Source: L1 (LCPO-Max), the reward as described in the paper; ``alpha`` is that of the authors' code. A rollout of
    ``n`` tokens gets ``delta``, so that a slight excess is no failure; one of ``delta / alpha`` tokens more gets
    nothing.
    Trap: the clip makes everything below ``n - (1 - delta) / alpha`` tokens alike, so small budgets teach no brevity.
    """

    card = Card(paper="L1 (LCPO-Max)", lossless=False, catalogue=(52,))
    reads = ("budget",)
    said: ClassVar[Literal["question", "thought"]] = "question"
    each = False

    alpha: Annotated[float, Field(ge=0)] = 1 / 3000
    """What a token costs."""
    delta: Annotated[float, Field(ge=0, le=1)] = 0.5
    """The reward of a right rollout of exactly ``n`` tokens."""

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        asked = zip(rights(group), budgets(group), lengths(group), strict=True)
        return [right * clip(self.alpha * (n - length) + self.delta, 0, 1) for right, n, length in asked]

    def hint(self, group: Group) -> list[str]:
        """The sentence behind the question."""
        return [f"Think for maximum {n} tokens." for n in budgets(group)]
