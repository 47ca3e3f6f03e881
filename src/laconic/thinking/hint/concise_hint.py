"""Remind the model to be brief, again and again while it thinks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from laconic.errors import RequestError
from laconic.models.text import Text
from laconic.policy import Card, Needs, knobs
from laconic.thinking.base import Action, Continue, Controller, Inject, View
from laconic.types import Request


@dataclass(slots=True)
class Reminded:
    """State of one request: thinking tokens at which the next hint is due, a hint's tokens, and the request's limit."""

    due: int
    tokens: int
    room: int


@knobs
class ConciseHint(Controller):
    """Write a short hint into the thought every so many tokens: seldom into long thoughts, which need their length.

    After each hint the next is due ``min(longest, first + growth * n)`` thinking tokens later, with n the tokens
    thought so far (ConciseHint; its constants). It is written at the first end of a step from then on. The paper puts
    it, in hindsight, behind a full stop or comma inside the text since the last hint, and leaves what followed as it
    was; here text that is written is never reopened. The authors wrap the hint in the tags of a user's turn,
    which ``text`` may hold as well.
    """

    card = Card(
        paper="ConciseHint: Boosting Efficient Reasoning via Continuous Concise Hints during Generation",
        catalogue=(43,),
        lossless=False,
    )
    needs = Needs(thinking=True)

    text: Annotated[str, Field(min_length=1)] = "make answer concise!"
    """The hint. A blank line is written behind it."""
    first: Annotated[int, Field(ge=1)] = 128
    """Thinking tokens before the first hint."""
    growth: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.2
    """How much longer each wait is, per token thought so far."""
    longest: Annotated[int, Field(ge=1)] = 1024
    """The longest wait, tokens."""

    def start(self, request: Request, text: Text) -> Reminded:
        """Refuse a request that is too short for the hint."""
        tokens, room = len(text.encode(self._hint)), request.limits.max_new_tokens
        if tokens >= room:
            raise RequestError(
                f"the hint of '{self.name}' has {tokens} tokens, the request allows {room} in all.",
                "Raise max_new_tokens, or use a shorter hint.",
            )
        return Reminded(self._wait(0), tokens, room)

    def decide(self, state: Reminded, view: View) -> Action:
        """Write the hint at the end of a step once it is due, if it fits into the request."""
        fits = len(view.written) + state.tokens < state.room
        if not view.boundary or view.thinking < state.due or not fits:
            return Continue()
        state.due = view.thinking + self._wait(view.thinking)
        return Inject(self._hint, f"{view.thinking} tokens of thought; the next hint is due at {state.due}")

    @property
    def _hint(self) -> str:
        return f"{self.text}\n\n"

    def _wait(self, thinking: int) -> int:
        return int(min(self.longest, self.first + self.growth * thinking))
