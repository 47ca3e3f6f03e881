"""What exits by probing share: ask something at the end of a step, and judge by all that was found so far.

:class:`LookingExit` does this for any question, :class:`ProbedExit` for the answer that the model would give now,
:class:`QuietExit` for its very next token, which costs one position of a scoring pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated, ClassVar

from pydantic import Field

from laconic.models.text import Text
from laconic.policy import Needs, knobs
from laconic.thinking.base import Action, Belief, Conclude, Continue, Controller, Probe, View
from laconic.types import Request

LONGEST = 24
"""Tokens of an answer at most."""
_ANY = "\n"
"""What ends an answer of one token, which ends anyway."""
_LAST_VALUE = re.compile(r"-?\d+(?:[./]\d+)?(?!.*\d)", re.DOTALL)

Hopeless = Callable[[Sequence[float]], bool]


@dataclass(frozen=True, slots=True)
class Look:
    """What one probe found, and the thinking tokens written by then."""

    thinking: int
    belief: Belief


@dataclass(slots=True)
class Asked:
    """State of one request: all looks so far, the answer of the last whole one, and the word to keep an eye on."""

    looks: list[Look] = field(default_factory=list)
    steps: int = 0
    next: int | None = None
    """Thinking tokens at which to look, where looks do not wait for the end of a step."""
    guess: str = ""
    watch: str = ""


@knobs
class LookingExit(Controller):
    """Probe, then stop where :meth:`settled` gives a reason. As a branch of a scoring pass a probe costs no pass."""

    needs = Needs(thinking=True, probabilities=True)
    asks: ClassVar[bool] = True

    _: KW_ONLY
    every: Annotated[int, Field(ge=1)] = 1
    """Probe at every n-th end of a step."""
    tokens: Annotated[int, Field(ge=0)] = 0
    """Probe after every so many thinking tokens instead, wherever that is; 0 for ends of steps."""

    def settled(self, asked: Asked) -> str | None:
        """Why the thought may end after the last of ``asked.looks``; None to think on."""
        raise NotImplementedError

    def ask(self, asked: Asked, view: View) -> Probe:
        """What to ask at this place; leaves ``asked`` as it is."""
        raise NotImplementedError

    def look(self, asked: Asked, view: View, belief: Belief) -> Look:
        """What to remember of a probe's answer."""
        return Look(view.thinking, belief)

    def expected(self, belief: Belief) -> str:
        """What the model will probably write once its thought is closed after this look."""
        return ""

    def start(self, request: Request, text: Text) -> Asked:
        """Nothing known yet."""
        return Asked(next=self.tokens or None)

    def limit(self, state: Asked) -> int | None:
        """Where to look next, if looks do not wait for the end of a step."""
        return state.next

    def decide(self, state: Asked, view: View) -> Action:
        """Probe where it is time to, then judge by what was found."""
        if view.belief is not None:
            return self._judge(state, self.look(state, view, view.belief))
        probe = self.will_ask(state, view)
        if state.next is None:
            state.steps += view.boundary
        elif probe is not None:
            state.next = view.thinking + self.tokens
        return Continue() if probe is None else probe

    def will_ask(self, state: Asked, view: View) -> Probe | None:
        """Its question, where it is time for one."""
        if state.next is not None:
            due = view.thinking >= state.next
        else:
            due = view.boundary and (state.steps + 1) % self.every == 0
        return self.ask(state, view) if due else None

    def _judge(self, state: Asked, look: Look) -> Action:
        state.looks.append(look)
        belief = look.belief
        reason = self.settled(state)
        if belief.complete:
            state.guess = belief.answer
        if reason is None:
            return Continue()
        return Conclude(reason, expected=self.expected(belief))


@knobs
class ProbedExit(LookingExit):
    """Asks what the answer would be, were the thought to end here."""

    most = LONGEST
    """Tokens of an answer that a probe follows."""

    _: KW_ONLY
    text: str = "The answer is \\boxed"
    """What opens the answer, after the closing tag. The brace after ``\\boxed`` is the model's: it may be one token
    with the answer's beginning, and then a text that ends in it would be one that the model never writes."""
    stop: str = "}"
    """What ends it. A closing brace ends it when braces are balanced."""

    def hopeless(self, asked: Asked, view: View) -> Hopeless | None:
        """A test by which the probe at this place ends early, as :class:`Probe` takes it; None if all of it matters.

        For a place that is only drafted it may be milder than it will turn out to be, never stricter.
        """
        return None

    def ask(self, asked: Asked, view: View) -> Probe:
        """The answer; the last stated value, or the last answer found, is the guess at it."""
        stated = _LAST_VALUE.search(view.steps[-1]) if view.steps else None
        guess = stated.group() if stated else asked.guess
        return Probe(self.text, self.stop, guess=guess, max_tokens=self.most, hopeless=self.hopeless(asked, view))

    def expected(self, belief: Belief) -> str:
        """The answer that was found."""
        opens = Probe(self.text, self.stop).opens
        return f"{self.text}{opens}{belief.answer}{self.stop}" if belief.complete else self.text


@knobs
class QuietExit(LookingExit):
    """Asks for the very next token of the open thought, keeping an eye on ``Asked.watch``."""

    def begun(self) -> str:
        """What is added to the thought, in the probe alone, before its next token is looked at."""
        return ""

    def ask(self, asked: Asked, view: View) -> Probe:
        """The next token."""
        return Probe(self.begun(), _ANY, max_tokens=1, close=False, watch=asked.watch)
