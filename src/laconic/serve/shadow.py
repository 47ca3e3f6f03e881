"""Controllers that only watch: where they would have ended a thought, what the answer there would have been."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from laconic.models.text import Text
from laconic.policy import Card, Needs, Policy
from laconic.serve.job import Seen
from laconic.thinking.base import Action, Belief, Conclude, Continue, Controller, Inject, Probe, View
from laconic.types import Request

ASKED = Probe("The answer is \\boxed", "}", max_tokens=48)
"""What is asked where controllers would have ended the thought without having asked themselves."""
METHOD = "shadow"


@dataclass(slots=True)
class Watched:
    """State of one request. ``over`` says that its controllers have had their say, ``answers`` whether the probe that
    was passed on asks for the answer; ``thinking`` and ``reason`` are where and why one of them wanted to end."""

    states: list[Any]
    turn: int = 0
    over: bool = False
    answers: bool = False
    thinking: int = 0
    reason: str = ""
    found: Seen | None = None


class Shadow(Controller):
    """Asks ``controllers`` as the loop would, and acts on nothing.

    The first end of the thought that one of them asks for is remembered: where, why, and what the model would have
    answered there, by its own probe or by one that asks for the answer (:data:`ASKED`). A controller that would write
    into the thought leads to a text that is never seen, so that nothing is known from there on. Rules on logits,
    steering and rewritten questions are left out for the same reason: who has any is watched as far as its
    decisions go.
    """

    name = METHOD
    card = Card(paper="laconic's own", lossless=True)

    def __init__(self, controllers: Sequence[Controller]) -> None:
        self.controllers = tuple(controllers)

    @property
    def needs(self) -> Needs:  # type: ignore[override]  # those of whom it watches
        """What the watched need."""
        return Needs(
            thinking=True,
            probabilities=any(c.needs.probabilities for c in self.controllers),
            chances=any(c.needs.chances for c in self.controllers),
            target_hidden=any(c.needs.target_hidden for c in self.controllers),
        )

    def walk(self) -> Any:
        """The watched, with all that is among their knobs."""
        yield self
        for controller in self.controllers:
            yield from controller.walk()

    def spec(self) -> str:
        """Who watches whom."""
        return f"{METHOD}({'+'.join(map(Policy.spec, self.controllers))})"

    def start(self, request: Request, text: Text) -> Watched:
        """States of all whom it watches."""
        return Watched([controller.start(request, text) for controller in self.controllers])

    def limit(self, state: Watched) -> int | None:
        """The next point at which one of them must be asked."""
        if state.over:
            return None
        limits = (c.limit(s) for c, s in zip(self.controllers, state.states, strict=True))
        return min((limit for limit in limits if limit is not None), default=None)

    def will_ask(self, state: Watched, view: View) -> Probe | None:
        """What the first of them would ask."""
        if state.over or state.reason or not self.controllers:
            return None
        return self.controllers[0].will_ask(state.states[0], view)

    def decide(self, state: Watched, view: View) -> Action:
        """Ask them in turn; a probe is passed on, an end is remembered, and the thought goes on."""
        if state.over:
            return Continue()
        if state.reason:
            return self._ended(state, view.belief)
        if view.belief is None:  # another place, whatever became of a probe at the last one
            state.turn = 0
        while state.turn < len(self.controllers):
            action = self.controllers[state.turn].decide(state.states[state.turn], view)
            if isinstance(action, Probe):
                state.answers = action.close
                return action
            if isinstance(action, Inject):
                state.over = True
                return Continue()
            if isinstance(action, Conclude):
                state.reason, state.thinking = action.reason, view.thinking
                found = view.belief
                known = found is not None and state.answers and found.complete and found.answer
                return self._ended(state, found) if known else ASKED
            state.turn += 1
            view = replace(view, belief=None)
        state.turn = 0
        return Continue()

    def _ended(self, state: Watched, belief: Belief | None) -> Action:
        """Remember what was found at the end that somebody wanted; nothing where there was no room to ask."""
        answer = belief.answer if belief is not None and belief.complete else ""
        state.found = Seen(state.thinking, state.reason, answer)
        state.over = True
        return Continue()


def seen(controllers: Sequence[tuple[Controller, Any]]) -> Seen | None:
    """What a request's shadow has found; None where it has none, or nothing would have been ended."""
    for controller, state in controllers:
        if isinstance(controller, Shadow):
            found: Seen | None = state.found
            return found
    return None
