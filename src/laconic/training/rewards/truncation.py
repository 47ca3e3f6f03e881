"""DLER, SIRI and PALU: nothing but a limit, and how it is made to work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from laconic.errors import InvalidKnob
from laconic.policy import Card, knobs
from laconic.training.advantages import group_advantages
from laconic.training.base import Reward, checked, matched
from laconic.training.group import Group
from laconic.training.rewards.shared import accuracy, complete, quantile, right_lengths


@knobs
class DLER(Reward):
    """1 for a right rollout that was not cut off, else 0, with advantages that are scaled over the batch.

    Source: DLER (Doing Length pEnalty Right), as described in the paper: each group's mean is taken off its rewards,
    and what is left is standardised over all rollouts of the batch. Groups whose rewards are all the same are left out
    (dynamic sampling). The paper also clips higher above than below, which is the trainer's loss and not here.
    Trap: with deviations of each group by itself, the few groups with one odd rollout would weigh the most.
    """

    card = Card(paper="DLER", lossless=False, catalogue=(107,))

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        return [float(complete(rollout)) for rollout in group.rollouts]

    def batch_advantages(self, rewards: Sequence[Sequence[float]]) -> list[list[float]]:
        """See the class; ``rewards``: one list for each group."""
        centred = [group_advantages(of_group, scale=False) for of_group in rewards]
        spread = iter(group_advantages([value for of_group in centred for value in of_group]))
        return [[next(spread) for _ in of_group] for of_group in centred]

    def keeps(self, group: Group, rewards: Sequence[float]) -> list[bool]:
        """All of a group, or none where there is nothing to compare."""
        matched(group, rewards, "rewards")
        return [len(set(checked(self.name, rewards, group))) > 1] * len(group)


@knobs
class SIRI(Reward):
    """1 for a right rollout that was not cut off, else 0, under a limit that swings between two lengths.

    Source: SIRI. The limit falls from ``longest`` to ``shortest`` and rises again, over and over, by a cosine; that one
    training run begins at the longest is this project's reading. Lengths and cycle have no defaults, since
    the authors' could not be confirmed.
    Trap: a model is only as short as its last phase: after compression it is at its shortest, after expansion at its
    best.
    """

    card = Card(paper="SIRI", lossless=False, catalogue=(36,))

    shortest: Annotated[int, Field(ge=1)]
    """Tokens in the middle of a cycle."""
    longest: Annotated[int, Field(ge=1)]
    """Tokens at its beginning and end."""
    cycle: Annotated[int, Field(ge=2)]
    """Steps from one longest limit to the next."""

    def __post_init__(self) -> None:
        if self.shortest > self.longest:
            raise InvalidKnob(f"'{self.name}' cannot swing from {self.longest} down to {self.shortest} tokens.")

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        return [float(complete(rollout)) for rollout in group.rollouts]

    def limit(self, step: int) -> int:
        """Tokens that a rollout may have at this step."""
        swing = (1 + math.cos(2 * math.pi * step / self.cycle)) / 2
        return round(self.shortest + (self.longest - self.shortest) * swing)


@knobs
class PALU(Reward):
    """1 for a right rollout within its prompt's own budget, else 0; the budget is tight only where accuracy allows it.

    Source: Performance-aware length updating (PALU), as the abstract describes it: the multiplier of
    the constraint on accuracy has two values. Where the prompt's accuracy reaches ``target``, its budget is a quantile
    of the right lengths (:meth:`remember`); else it has none and the full limit counts. The accuracy is the group's
    ``pass_rate``, from earlier rollouts, and that of the group itself where there is none.
    """

    card = Card(
        paper="Concise Reasoning in the Lens of Lagrangian Optimization (PALU)", lossless=False, catalogue=(47,)
    )
    reads = ("reference",)

    target: Annotated[float, Field(gt=0, le=1)]
    """Accuracy from which on a prompt is made shorter."""
    quantile: Annotated[float, Field(ge=0, le=1)]
    """Which of the right lengths becomes the budget; 0 is the shortest, 1 the longest."""

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        budget = math.inf if group.reference is None else group.reference
        return [float(complete(rollout) and rollout.tokens <= budget) for rollout in group.rollouts]

    def remember(self, group: Group) -> float | None:
        """The budget from now on; None for the full limit."""
        known = right_lengths(group)
        reached = (accuracy(group) if group.pass_rate is None else group.pass_rate) >= self.target
        return quantile(known, self.quantile) if reached and known else None
