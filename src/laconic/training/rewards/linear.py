"""ALP and A-DLP: every token costs, by how easy the prompt is or by how well the model does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Self

from pydantic import Field

from laconic.errors import GroupError
from laconic.policy import Card, knobs
from laconic.training.base import Reward
from laconic.training.group import Group
from laconic.training.rewards.shared import accuracy as share_right
from laconic.training.rewards.shared import lengths, mean, rights


@knobs
class ALP(Reward):
    """``right - beta * L * max(p, 1 / K)``: tokens cost the more, the more of the prompt's ``K`` rollouts are right.

    Source: Just Enough Thinking (ALP), as described in the paper. ``p`` is the share of the group that is right; wrong
    rollouts pay as well. Whether ``L`` is divided by something is a matter of ``beta``, which is per token here.
    Trap: a short wrong rollout can get more than a long right one, from ``1 / (beta * p)`` tokens of difference on.
    """

    card = Card(paper="Just Enough Thinking (ALP)", lossless=False, catalogue=(82,))
    truthful = False

    beta: Annotated[float, Field(ge=0)]
    """What a token costs on a prompt that is always solved; the authors' value is not confirmed, so give one."""

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        price = self.beta * max(share_right(group), 1 / len(group))
        return [right - price * length for right, length in zip(rights(group), lengths(group), strict=True)]


@knobs
class ADLP(Reward):
    """``right - price * L``, with a price of tokens that rises while the model is right more often than it has to be.

    Source: Thinking Fast and Right (A-DLP), as described in the paper: after each batch the price grows by ``rate``
    times the batch's accuracy minus ``accuracy``, and is never below 0 (:meth:`update`).
    Traps: a short wrong rollout can get more than a long right one; and the price follows one batch, so with small
    batches it follows their luck.
    """

    card = Card(paper="Thinking Fast and Right (A-DLP)", lossless=False, catalogue=(100,))
    truthful = False

    accuracy: Annotated[float, Field(ge=0, le=1)]
    """Share of right rollouts that shall be kept, e.g. that of the model before training."""
    rate: Annotated[float, Field(ge=0)]
    """How fast the price follows."""
    price: Annotated[float, Field(ge=0)]
    """What a token costs; the value given is that of the first step."""

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        return [right - self.price * length for right, length in zip(rights(group), lengths(group), strict=True)]

    def update(self, groups: Sequence[Group]) -> Self:
        """With the price of the next step. Raises GroupError for no groups."""
        if not groups:
            raise GroupError("there is no accuracy of an empty batch.", "Update with the groups of a step.")
        right = mean([float(right) for group in groups for right in rights(group)])
        return replace(self, price=max(0.0, self.price + self.rate * (right - self.accuracy)))
