"""Two rewards outside the catalogue that every comparison has: the cosine reward, and DAPO's soft punishment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from laconic.errors import GroupError
from laconic.policy import Card, knobs
from laconic.training.base import Reward, matched
from laconic.training.group import Group
from laconic.training.rewards.shared import lengths, limit, rights


@knobs
class Cosine(Reward):
    """From ``right_short`` to ``right_long``, from ``wrong_short`` to ``wrong_long``, by half a cosine over the limit.

    Source: Demystifying Long Chain-of-Thought Reasoning (Yeo et al. 2025), the cosine reward and its constants. A
    rollout of ``L`` tokens gets ``end + (begin - end) * (1 + cos(pi * L / limit)) / 2``; one that was cut off gets
    ``exceeded``, right or wrong. Reads the group's ``limit``.
    Trap: among wrong rollouts the longest are the best, on purpose: it asks for more thought where that failed. Without
    the authors' penalty on repetition, which is not here, a model can earn that by saying the same again.
    """

    card = Card(paper="Demystifying Long Chain-of-Thought Reasoning", lossless=False, arxiv="2502.03373")
    reads = ("limit",)

    right_short: float = 2.0
    """For a right rollout of no length."""
    right_long: float = 1.0
    """For a right one at the limit."""
    wrong_short: float = -10.0
    """For a wrong rollout of no length."""
    wrong_long: float = 0.0
    """For a wrong one at the limit."""
    exceeded: float = -10.0
    """For one that was cut off."""

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        most, rewards = limit(group), []
        for rollout, right in zip(group.rollouts, rights(group), strict=True):
            begin, end = (self.right_short, self.right_long) if right else (self.wrong_short, self.wrong_long)
            shaped = end + (begin - end) * (1 + math.cos(math.pi * rollout.tokens / most)) / 2
            rewards.append(self.exceeded if rollout.truncated else shaped)
        return rewards


@knobs
class DAPO(Reward):
    """1 for right and -1 for wrong, less up to 1 for the last tokens before the limit.

    Source: DAPO (Yu et al. 2025), soft overlong punishment: nothing up to ``limit - buffer`` tokens, then linear to -1
    at the limit. Groups that are all right or all wrong are left out (dynamic sampling, :meth:`keeps`). DAPO also clips
    higher above than below, which is the trainer's loss. Reads the group's ``limit``.
    Trap: the outcome is worth 2 here, twice what other rewards give, so the punishment never puts right below wrong.
    """

    card = Card(paper="DAPO", lossless=False, arxiv="2503.14476")
    reads = ("limit",)

    buffer: Annotated[int, Field(ge=1)] = 4096
    """Tokens before the limit in which the punishment grows; the authors have a limit of 20480."""

    def rewards(self, group: Group) -> list[float]:
        """See the class. Raises GroupError where the buffer is longer than the limit."""
        free = limit(group) - self.buffer
        if free < 0:
            raise GroupError(f"'{self.name}' has a buffer of {self.buffer} tokens, and the limit is {group.limit}.")
        late = [max(0, length - free) / self.buffer for length in lengths(group)]
        return [(1.0 if right else -1.0) - excess for right, excess in zip(rights(group), late, strict=True)]

    def keeps(self, group: Group, rewards: Sequence[float]) -> list[bool]:
        """All of a group, or none where all are right or all are wrong."""
        matched(group, rewards, "rewards")
        return [len(set(rights(group))) > 1] * len(group)
