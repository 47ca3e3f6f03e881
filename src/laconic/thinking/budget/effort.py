"""Levels of effort in place of numbers of tokens."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from laconic.errors import InvalidKnob
from laconic.models.text import Text
from laconic.policy import Card, knobs
from laconic.thinking.base import LogitRule, Place
from laconic.thinking.budget.capped import Capped, Thought
from laconic.thinking.budget.lengths import HINT, Lengths, fingerprint, load
from laconic.thinking.budget.tag import Tag
from laconic.types import Question, Request

Level = Literal["none", "minimal", "low", "medium", "high", "max"]
PERCENT: dict[str, int] = {"minimal": 10, "low": 25, "medium": 50, "high": 90}
"""Of how many problems, in percent, the whole thought fits into a level's budget, where lengths are known."""
TOKENS: dict[str, int] = {"minimal": 256, "low": 1024, "medium": 4096, "high": 16384}
"""Budgets where they are not."""
_SHARE = 0.75
"""Most of a request's tokens that are spent on the thought, where the answer has no budget of its own."""


@knobs
class Effort(Capped):
    """Think as hard as a level says: none, minimal, low, medium, high or max.

    The four in the middle are budgets, closed as ``budget`` closes them. With ``lengths``, the file that
    ``laconic fit effort`` writes, they are quantiles of how long this model thinks about such problems when left alone:
    of 10, 25, 50 and 90 % of them the whole thought fits into ``minimal``, ``low``, ``medium`` and ``high``; others are
    cut. Without a file they are 256, 1024, 4096 and 16384 tokens, round numbers for models that think for thousands of
    tokens. A level is a wish and not a limit that was asked for by number, so it gives way to ``max_new_tokens``: where
    there is no ``answer`` budget the thought gets three quarters of it at most, else what the answer leaves.

    ``none`` asks with thinking switched off (``enable_thinking`` of the chat template). Where a template knows no such
    switch, or a prompt was made otherwise, a thought that has been opened is closed at once: its only tokens are those
    of the tag. ``max`` has no limit.

    Raises InvalidKnob for a file that is not there, holds something else, or was measured on another model.
    """

    card = Card(paper="laconic's own; levels as in common APIs (reasoning_effort)", lossless=False)

    level: Level = "medium"
    """How hard to think: none, minimal, low, medium, high or max."""
    files = frozenset({"lengths"})

    lengths: str = ""
    """File that ``laconic fit effort`` wrote; none for the same budgets whatever the model."""
    landing: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Last share of the budget in which the thought closes at the first end of a step."""

    def __post_init__(self) -> None:
        self.check_minimum(self.tokens)

    @cached_property
    def _known(self) -> Lengths | None:
        return load(self.lengths) if self.lengths else None

    @property
    def tokens(self) -> int | None:
        """The level's budget; 0 for no thought at all, None for no limit."""
        known = self._known
        if self.level in ("none", "max"):
            return 0 if self.level == "none" else None
        return TOKENS[self.level] if known is None else known.enough_for(PERCENT[self.level])

    def suits(self, target: Any, draft_model: Any) -> None:
        """Raise InvalidKnob if the lengths are those of another model."""
        known, found = self._known, fingerprint(target)
        if known is not None and known.fingerprint != found:
            raise InvalidKnob(
                f"'{self.lengths}' holds the lengths of another model, '{known.model}' (fingerprint "
                f"{known.fingerprint}, this one is {found}).",
                HINT,
            )

    def prepare(self, question: Question) -> Question:
        """Thinking switched off, for no effort; else the level in the chat template's own words, where it has any."""
        if self.level != "none":
            return replace(question, effort=self.level)
        if not question.thinking:
            return question
        return replace(question, thinking=False).noting(self.name, "prepare", "effort none: thinking switched off")

    def start(self, request: Request, text: Text) -> Thought:
        """The budget, fitted to what the request allows. Refuses one whose own limit leaves no room for the answer."""
        tokens = self.tokens
        if not tokens:
            return Thought(text, None, math.inf)
        limit = request.limits.max_new_tokens
        room = int(_SHARE * limit) if self.answer is None else limit - self.spare(text) - self.answer
        tokens = max(min(tokens, room), self.minimum, 1)
        self.leave_room(tokens, request, text)
        return Thought(text, tokens, max(tokens * (1 - self.landing), self.minimum))

    def rule(self, state: Thought) -> LogitRule:
        """No empty answer; and for no effort, no thought."""
        answered = super().rule(state)
        if self.level != "none":
            return answered
        tag = Tag(state.text)

        def rule(logits: torch.Tensor, place: Place) -> torch.Tensor | None:
            if place.phase != "thinking":
                return answered(logits, place)
            closed = torch.full_like(logits, -torch.inf)
            closed[tag.tokens[tag.begun(place.tokens)]] = 0.0
            return closed

        return rule
