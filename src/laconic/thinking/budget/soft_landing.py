"""A budget of thinking tokens that the model is talked into keeping."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field

from laconic.models.text import Text
from laconic.policy import Card, knobs
from laconic.thinking.base import LogitRule, Place
from laconic.thinking.budget.capped import Capped, Thought
from laconic.thinking.budget.tag import Tag, tempered
from laconic.types import Request


@knobs
class SoftLanding(Capped):
    """A budget in whose last part the end of the thought grows likelier, so that the model ends it where it can.

    With ``last = tokens - length of the tag``, the last count at which the whole tag still fits, and
    ``start = (1 - landing) * last`` (not before ``minimum``): from ``start`` on, the log-probability of the closing tag
    is divided by ``hottest ** ((n + 1 - start) / (last + 1 - start))`` after n thinking tokens, a temperature that
    rises evenly on a logarithmic scale and reaches ``hottest`` at ``last``. As a bias that is
    ``(1 - 1 / temperature) * -log p`` nats on the logit of the tag's next token, p its probability. A tag of several
    tokens that has been begun keeps the temperature at which it was begun, and none is begun that no longer fits. What
    the model has not ended after ``tokens`` is closed by force, as ``budget`` does: that limit is as hard.

    The bias is in proportion to how far away the tag is. The same nats for all places ended many thoughts of the
    bundled model inside a sentence, and the answer then went on reasoning; a temperature is felt where the model is
    unsure how to go on, which is between steps.

    ``soft-landing:256`` stands in the place of ``budget:256`` and has its other knobs (``answer``, ``minimum``); it
    composes with exits in the same way.
    """

    card = Card(paper="laconic's own", lossless=False)

    tokens: Annotated[int, Field(gt=0)]
    """Most thinking tokens, tags included."""
    landing: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Last share of the budget in which the closing tag grows likelier."""
    hottest: Annotated[float, Field(gt=1, le=1e6)] = 20.0
    """The closing tag's temperature in the end."""

    def __post_init__(self) -> None:
        self.check_minimum(self.tokens)

    def start(self, request: Request, text: Text) -> Thought:
        """Refuse a request whose own limit would cut the answer off."""
        self.leave_room(self.tokens, request, text)
        return Thought(text, self.tokens, math.inf)

    def rule(self, state: Thought) -> LogitRule:
        """Heat the tag in the thought; after it, no empty answer."""
        tag, answered = Tag(state.text), super().rule(state)

        def rule(logits: torch.Tensor, place: Place) -> torch.Tensor | None:
            if place.phase != "thinking":
                return answered(logits, place)
            begun = tag.begun(place.tokens)
            temperature = self.temperature(place.thinking - begun, len(tag))
            return tempered(logits, tag.tokens[begun], temperature)

        return rule

    def temperature(self, thinking: int, size: int) -> float:
        """That of a tag of ``size`` tokens that begins after ``thinking`` tokens; 1 changes nothing."""
        last = self.tokens - size
        start = max((1 - self.landing) * last, self.minimum)
        if not start <= thinking <= last:
            return 1.0
        return math.exp(math.log(self.hottest) * (thinking + 1 - start) / (last + 1 - start))
