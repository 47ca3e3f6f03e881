"""End a thought that goes round in circles, so that there is an answer at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from laconic.models.text import Text
from laconic.policy import Card, Needs, knobs
from laconic.thinking.base import Action, Conclude, Continue, Controller, View
from laconic.thinking.exit.repeats import Tally, circle
from laconic.thinking.statements import sentences
from laconic.types import Request


@dataclass(slots=True)
class _State:
    next: int
    read: int = 0
    """Steps that have been read."""
    tally: Tally = field(default_factory=Tally)


@knobs
class LoopBreak(Controller):
    """Stop a thought that repeats itself; a sentence hands over to the answer, which the model then writes.

    Two signs of a loop. **Tokens**: the thought ends in ``copies`` copies of the same ``period`` tokens or fewer, at
    least ``tokens`` long together, equal token by token. This is looked for every ``every`` tokens, since a loop may
    never end a step, in time linear in the tokens looked at. **Sentences**: one of 20 characters or more has come
    ``sentences`` times, whatever stood between. A thought without a loop is left as it is. Give it before a budget, and
    a loop ends there rather than with the budget; both limits hold. It needs no probabilities and asks nothing.
    """

    card = Card(paper="laconic's own", lossless=False)
    needs = Needs(thinking=True)

    copies: Annotated[int, Field(ge=2)] = 3
    """Equal copies in a row that make a loop."""
    period: Annotated[int, Field(ge=1)] = 200
    """Longest copy, tokens."""
    tokens: Annotated[int, Field(ge=2)] = 48
    """Least tokens of all copies together: short ones must come more often."""
    sentences: Annotated[int, Field(ge=0)] = 8
    """Times that one sentence may come before it is a loop; 0 for any number."""
    every: Annotated[int, Field(ge=1)] = 32
    """Thinking tokens between two looks."""
    text: str = "I am repeating myself, so I will answer with what I have.\n"
    """Written before the closing tag."""

    def start(self, request: Request, text: Text) -> _State:
        """Nothing written yet."""
        return _State(self.every)

    def limit(self, state: _State) -> int:
        """Where to look next."""
        return state.next

    def decide(self, state: _State, view: View) -> Action:
        """Look for a circle of tokens, and at the sentences of new steps."""
        reason = self._circle(state, view) or self._sentences(state, view)
        if reason is None:
            return Continue()
        return Conclude(reason, self.text if view.boundary else f"\n\n{self.text}")

    def _circle(self, state: _State, view: View) -> str | None:
        if view.thinking < state.next and not view.boundary:
            return None
        state.next = view.thinking + self.every
        found = circle(view.written, period=self.period, copies=self.copies, least=self.tokens)
        return None if found is None else f"the thought repeats its last {found} tokens"

    def _sentences(self, state: _State, view: View) -> str | None:
        new, state.read = view.steps[state.read :], len(view.steps)
        most = state.tally.add(sentence for step in new for sentence in sentences(step))
        return f"a sentence has come {most} times" if self.sentences and most >= self.sentences else None
