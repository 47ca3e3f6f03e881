"""What controllers share that close a thought after so many tokens: how, and what is left for the answer."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated

from pydantic import Field

from laconic.errors import InvalidKnob, RequestError
from laconic.models.text import Text
from laconic.policy import Needs, knobs
from laconic.thinking.base import Action, Conclude, Continue, Controller, Inject, LogitRule, View
from laconic.thinking.budget.tag import answered
from laconic.types import Request

_TAIL = 8
"""Tokens decoded to see whether the thought ends with a line."""


@dataclass(slots=True)
class Thought:
    """State of one request: ``most`` thinking tokens (None for no limit), from ``landing`` on only to a step's end."""

    text: Text
    most: int | None
    landing: float
    waited: int = 0


@knobs
class Capped(Controller):
    """Close the thought at a number of tokens that a method chooses, which the model cannot overrun.

    Thinking tokens are those that the model wrote, tags included. Sentences that a controller adds (``text``, ``wait``)
    and the tag that it closes with do not count. After the thought the answer is never empty: while nothing but white
    space follows the closing tag, end tokens are ruled out, whoever closed it.
    """

    needs = Needs(thinking=True)

    _: KW_ONLY
    text: str = "Time is up, so I will answer with what I have.\n"
    """Transition written before the closing tag."""
    answer: Annotated[int, Field(gt=0)] | None = None
    """Most tokens of the answer, an end token included; none for no such limit."""
    minimum: Annotated[int, Field(ge=0)] = 0
    """While the model has written fewer thinking tokens, ``wait`` takes the place of the end of its thought."""
    wait: Annotated[str, Field(min_length=1)] = "Wait"
    """What makes the model think on, on a line of its own."""
    waits: Annotated[int, Field(ge=0)] = 4
    """Times that it is told so at most; a model that insists is let go."""

    @property
    def closing(self) -> bool:
        """Where there is a ``minimum`` to mind."""
        return self.minimum > 0

    def spare(self, text: Text) -> int:
        """Tokens at most that closing the thought, and keeping it open, write without counting them."""
        ending = len(text.encode(f"\n\n{self.text}{text.format.ending}"))
        return ending + (self.waits * len(text.encode(f"\n\n{self.wait}")) if self.minimum else 0)

    def leave_room(self, tokens: int, request: Request, text: Text) -> None:
        """Raise RequestError unless the request's own limit leaves room for ``tokens`` of thought and the answer.

        Without an ``answer`` budget nobody has said how long answers are: then there must be room for a token.
        """
        most, spare = request.limits.max_new_tokens, self.spare(text)
        if self.answer is None and most <= tokens:
            raise RequestError(
                f"max_new_tokens={most} leaves no room for an answer after a thinking budget of {tokens}.",
                "Raise max_new_tokens or lower the budget.",
            )
        if self.answer is not None and most < tokens + spare + self.answer:
            raise RequestError(
                f"max_new_tokens={most} leaves no room for {tokens} thinking tokens, {spare} that hand over to the "
                f"answer, and {self.answer} of the answer.",
                f"Raise max_new_tokens to {tokens + spare + self.answer}, or lower a budget.",
            )

    def check_minimum(self, tokens: int | None) -> None:
        """Raise InvalidKnob if no thought of ``tokens`` tokens can be as long as the least one."""
        if tokens is not None and self.minimum > tokens:
            raise InvalidKnob(
                f"'{self.name}', knob 'minimum': {self.minimum} is more than the budget of {tokens} tokens.",
                "Lower minimum or raise the budget.",
            )

    def rule(self, state: Thought) -> LogitRule:
        """No empty answer."""
        return answered(state.text)

    def answer_limit(self, state: Thought) -> int | None:
        """The answer's own budget."""
        return self.answer

    def limit(self, state: Thought) -> int | None:
        """The budget."""
        return state.most

    def decide(self, state: Thought, view: View) -> Action:
        """Close at the budget, or at the end of a step when landing; keep open what would end too early."""
        if view.closing:
            return self._mind(state, view)
        if state.most is not None and view.thinking >= state.most:
            text = self.text if view.boundary else f"\n\n{self.text}"
            return Conclude(f"budget of {state.most} tokens is spent", text)
        if view.boundary and view.thinking >= state.landing:
            return Conclude(f"{view.thinking} of {state.most} tokens are spent and a step has ended", self.text)
        return Continue()

    def _mind(self, state: Thought, view: View) -> Action:
        if view.thinking >= self.minimum or state.waited >= self.waits:
            return Continue()
        state.waited += 1
        line = state.text.decode(view.written[-_TAIL:])
        apart = "" if not line or line.endswith("\n") else "\n\n"
        return Inject(
            f"{apart}{self.wait}",
            f"{view.thinking} of at least {self.minimum} tokens; wait {state.waited} of {self.waits}",
        )
