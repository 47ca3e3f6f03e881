"""What rides along in every attempt: a controller that tells the board what is going on, and ends a thought for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from laconic.models.text import Text
from laconic.policy import Card, Needs, Policy
from laconic.scaling.base import Attempt, Growth, Look
from laconic.thinking.base import Action, Conclude, Continue, Controller, Probe, View
from laconic.thinking.exit.settled import Read, Settled
from laconic.types import Request

_STATE = Probe("", "\n", max_tokens=1, close=False)
"""The very next token of the open thought, for the state behind it."""
Verdict = Callable[[Attempt, Growth], str | None]
"""Told of a look, and what thinking on promises; says why the thought may end."""


class Chances(Controller):
    """Has the loop remember how likely each token was. It decides nothing."""

    name = "scaling"
    card = Card(paper="laconic's own", lossless=True)
    needs = Needs(chances=True)

    def start(self, request: Request, text: Text) -> None:
        """Nothing to remember."""

    def decide(self, state: Any, view: View) -> Action:
        """On."""
        return Continue()


class Shared(Controller):
    """Asks at the end of each step what the answer would be now, as ``settled`` does, and lets others decide.

    One for each attempt. Alone it is ``settled``: where there is one attempt, what a probe may leave out is left out.
    """

    name = "scaling"
    card = Card(paper="laconic's own", lossless=False)
    needs = Settled.needs
    asks = True

    def __init__(self, settled: Settled, attempt: Attempt, verdict: Verdict, *, alone: bool) -> None:
        self._settled, self._attempt, self._verdict, self._alone = settled, attempt, verdict, alone

    def walk(self) -> Iterator[Policy]:
        """Itself."""
        yield self

    def start(self, request: Request, text: Text) -> Read:
        """Nothing known yet."""
        return self._settled.start(request, text)

    def limit(self, state: Read) -> int | None:
        """As ``settled``."""
        return self._settled.limit(state)

    def will_ask(self, state: Read, view: View) -> Probe | None:
        """As ``settled``."""
        return self._whole(self._settled.will_ask(state, view))

    def decide(self, state: Read, view: View) -> Action:
        """Ask as ``settled`` does; at a look, tell the board."""
        action = self._settled.decide(state, view)
        if isinstance(action, Probe):
            return self._whole(action) or action
        if view.belief is None:
            return action
        left, promise, cost = self._settled.weighed(state)
        attempt = self._attempt
        attempt.looks.append(Look(view.thinking, view.belief, left, len(view.written)))
        attempt.thinking = view.thinking
        reason = self._verdict(attempt, Growth(promise, cost))
        if reason is None:
            return Continue()
        attempt.concluded = True
        return Conclude(reason, expected=self._settled.expected(view.belief))

    def _whole(self, probe: Probe | None) -> Probe | None:
        """A probe that is followed to its end where others may vote with what it finds."""
        return probe if probe is None or self._alone else replace(probe, hopeless=None)


class States(Controller):
    """Has the model's state told at the end of each step: the next token is asked for there, and nothing of it kept."""

    name = "scaling"
    card = Card(paper="laconic's own", lossless=False)
    needs = Needs(thinking=True, probabilities=True, target_hidden=True)

    def __init__(self, attempt: Attempt, verdict: Verdict) -> None:
        self._attempt, self._verdict = attempt, verdict

    def walk(self) -> Iterator[Policy]:
        """Itself."""
        yield self

    def start(self, request: Request, text: Text) -> None:
        """Nothing known yet."""

    def will_ask(self, state: Any, view: View) -> Probe | None:
        """At every end of a step."""
        return _STATE if view.boundary else None

    def decide(self, state: Any, view: View) -> Action:
        """Ask at the end of a step; then tell the board."""
        if view.belief is None:
            return _STATE if view.boundary and not view.closing else Continue()
        attempt = self._attempt
        attempt.looks.append(Look(view.thinking, view.belief, 0.5, len(view.written)))
        attempt.thinking = view.thinking
        reason = self._verdict(attempt, Growth(0.0, 0.0))
        return Continue() if reason is None else Conclude(reason)
