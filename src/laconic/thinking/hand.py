"""A thought that waits, so that somebody outside can decide who writes on."""

from __future__ import annotations

from typing import Any

from laconic.models.text import Text
from laconic.policy import Card
from laconic.thinking.base import Action, Continue, Controller, Inject, View
from laconic.types import Event, Request


class Hand(Controller):
    """Has a thought wait at the end of a step, or after so many tokens; what was drafted beyond is dropped."""

    name = "hand"
    card = Card(paper="laconic's own", lossless=False)

    def __init__(self) -> None:
        self.most: int | None = None
        """Thinking tokens at which to wait."""
        self.whole = False
        """Whether ends of steps are passed by."""
        self.guards = False
        """Whether to wait where the model ends its thought, too, before its tag."""
        self.waits = self.closes = False

    def aim(self, most: int | None = None, *, whole: bool = False, guards: bool = False) -> None:
        """Where to wait next; the request's own limit must be asked for again (``Sequence.refresh_limit``)."""
        self.waits = self.closes = False
        self.most, self.whole, self.guards = most, whole, guards

    @property
    def closing(self) -> bool:
        """Where it guards."""
        return self.guards

    def start(self, request: Request, text: Text) -> None:
        """It has no state of its own: one hand for one request."""

    def limit(self, state: Any) -> int | None:
        """Where to wait."""
        return self.most

    def decide(self, state: Any, view: View) -> Action:
        """Wait here, if it is time."""
        here = view.boundary and not self.whole
        if view.closing or here or (self.most is not None and view.thinking >= self.most):
            self.waits, self.closes = True, bool(view.closing)
            return Inject("", "waits")
        return Continue()

    def forget(self, events: list[Event]) -> None:
        """Drop the events of its waiting, which has left no trace in the text."""
        events[:] = [event for event in events if event.method != self.name]
