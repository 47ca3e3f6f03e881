"""What routers share: a mode is a list of controllers, and a router names the mode that acts in its place.

A mode may be empty (think as ever), switch thinking off, set a budget, let exits watch the thought, or rewrite the
question: words in the prompt, another temperature, fewer tokens. Since modes are specs (``easy=[no-thinking]``,
``hard=[say:Think carefully.+budget:512]``), whatever laconic has can be chosen among.

Requests that were not made of a question (bare tokens) have nothing that a router could look at or rewrite; they are
answered as if no mode had been chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Any, NamedTuple, cast

from pydantic import InstanceOf

from laconic.models.text import Text
from laconic.policy import Card, Needs, knobs, registry
from laconic.thinking.base import Action, Continue, Controller, Reader, View
from laconic.types import Question, Request

Mode = tuple[InstanceOf[Controller], ...]
"""Controllers that act together, in their order of precedence."""
BRACKETS = "A mode is controllers in brackets, joined by '+': easy=[no-thinking], hard=[budget:512+settled], normal=[]."


@knobs
class Before(Controller):
    """Has its say before the first token and none after it."""

    def start(self, request: Request, text: Text) -> Any:
        """Nothing to remember."""
        return None

    def decide(self, state: Any, view: View) -> Action:
        """Think on."""
        return Continue()


@knobs
class Routed(Before):
    """Stands for a router that has made its choice: notes it among the result's events."""

    card = Card(paper="laconic's own", lossless=False)

    method: str
    """The router."""
    reason: str
    """What it chose, and why."""

    def prepare(self, question: Question) -> Question:
        """Write it down."""
        return question.noting(self.method, "route", self.reason)


class Choice(NamedTuple):
    """The name of a knob that holds the chosen mode, and why it was chosen."""

    mode: str
    reason: str


@knobs
class Router(Before):
    """Chooses a mode for every question, by :meth:`choose`."""

    needs = Needs(thinking=True)
    several = frozenset({"easy", "normal", "hard"})
    hints = dict.fromkeys(("easy", "normal", "hard"), BRACKETS)

    def choose(self, question: Question, reader: Reader) -> Choice:
        """Which mode, a pure function of the question and of what the reader says about it."""
        raise NotImplementedError

    def resolve(self, question: Question, reader: Reader) -> Sequence[Controller]:
        """The chosen mode's controllers, after one that notes the choice."""
        chosen = self.choose(question, reader)
        return Routed(self.name, f"{chosen.mode}: {chosen.reason}"), *getattr(self, chosen.mode)


def quick() -> Any:
    """Default of a mode for easy questions: no thought at all."""
    return field(default_factory=lambda: (cast(Controller, registry.build("think", "no-thinking")),))
