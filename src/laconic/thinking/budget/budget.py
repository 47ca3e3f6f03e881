"""A budget of thinking tokens with a soft landing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from laconic.errors import RequestError
from laconic.models.text import Text
from laconic.policy import Card, Needs, knobs
from laconic.thinking.base import Action, Conclude, Continue, Controller, View
from laconic.types import Request


@dataclass(frozen=True, slots=True)
class _State:
    hard: int
    soft: float


@knobs
class Budget(Controller):
    """At most ``tokens`` thinking tokens; then a transition text, the closing tag, and the answer.

    Budget forcing as in s1 (arXiv 2501.19393), with two changes: the thought gets a sentence that hands over to the
    answer instead of a bare cut, and in the last part of the budget (``landing``) it is closed at the end of a step
    rather than in the middle of one. The budget holds exactly, under speculation and in batches. The transition
    text and the answer do not count towards it.
    """

    card = Card(paper="s1: Simple test-time scaling (budget forcing)", arxiv="2501.19393", lossless=False)
    needs = Needs(thinking=True)

    tokens: Annotated[int, Field(gt=0)]
    """Most thinking tokens, tags included."""
    landing: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Last share of the budget in which the thought closes at the first end of a step."""
    text: str = "Time is up, so I will answer with what I have.\n"
    """Transition written before the closing tag."""

    def start(self, request: Request, text: Text) -> _State:
        """Refuse a request whose own limit would cut the answer off."""
        if request.limits.max_new_tokens <= self.tokens:
            raise RequestError(
                f"max_new_tokens={request.limits.max_new_tokens} leaves no room for an answer "
                f"after a thinking budget of {self.tokens}.",
                "Raise max_new_tokens or lower the budget.",
            )
        return _State(self.tokens, self.tokens * (1 - self.landing))

    def limit(self, state: _State) -> int:
        """The budget."""
        return state.hard

    def decide(self, state: _State, view: View) -> Action:
        """Close at the budget, or at the end of a step when landing."""
        if view.thinking >= state.hard:
            text = self.text if view.boundary else f"\n\n{self.text}"
            return Conclude(f"budget of {self.tokens} tokens is spent", text)
        if view.boundary and view.thinking >= state.soft:
            return Conclude(f"{view.thinking} of {self.tokens} tokens are spent and a step has ended", self.text)
        return Continue()
