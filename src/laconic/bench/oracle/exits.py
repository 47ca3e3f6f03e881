"""Where controllers would have ended a thought that was written to its end.

A controller sees the thought up to a check point, and what probes find there; nothing that comes later. So one finished
thought tells where every controller, at every setting, would have ended it, and many can be compared on the same texts
at the price of one. What the model would have answered there is its greedy answer, asked as probes ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from laconic.bench.oracle.thought import ASK, Ending, beliefs, outline
from laconic.models.base import LanguageModel
from laconic.models.text import Text
from laconic.thinking.base import Belief, Conclude, Continue, Controller, Probe, View
from laconic.types import Request


class Thought:
    """A finished thought. ``tokens`` are those after the prompt.

    Raises ValueError where there is no thought, or it was cut off.
    """

    def __init__(self, model: LanguageModel, text: Text, request: Request, tokens: Sequence[int]) -> None:
        self.request = request
        self.text, self.tokens = text, tokens
        self._model = model
        self._found: dict[Probe, dict[Ending, Belief]] = {}
        found = outline(text, request, tokens, keep_steps=True)
        if found is None:
            raise ValueError("the thought was never closed")
        self._lengths = found.lengths
        self.ends = [*found.ends, found.own]
        """Ends of steps, and the thought's own end, the last."""
        self.steps = found.steps
        """Text of every finished step."""

    def after(self, thinking: int) -> Ending:
        """The place after so many thinking tokens."""
        return Ending(self._lengths[thinking], thinking)

    def belief(self, place: Ending, ask: Probe = ASK) -> Belief:
        """What the model would answer at ``place``; all ends of steps are asked about together."""
        key = replace(ask, guess="", hopeless=None)
        if key not in self._found:
            self._found[key] = dict(zip(self.ends, self._ask(self.ends, ask), strict=True))
        found = self._found[key]
        if place not in found:
            (found[place],) = self._ask([place], ask)
        return found[place]

    def _ask(self, places: Sequence[Ending], ask: Probe) -> list[Belief]:
        return beliefs(self._model, self.text, self.request, self.tokens, places, replace(ask, guess=""))


def ended(controller: Controller, thought: Thought) -> Ending:
    """The place at which ``controller`` would have ended the thought; the last of ``thought.ends`` if nowhere.

    Raises ValueError for one that writes into the thought: what it would have become is not known.
    """
    state = controller.start(thought.request, thought.text)
    if controller.rule(state) is not None:
        raise ValueError(f"'{controller.spec()}' changes what is written; run it")
    own, step, place = thought.ends[-1], 0, Ending(0, 0)
    while True:
        limit = controller.limit(state)
        following = thought.ends[step]
        if limit is not None and place.thinking < limit < following.thinking:
            place, boundary = thought.after(limit), False
        elif following is own:
            return own
        else:
            place, boundary, step = following, True, step + 1
        written = thought.tokens[: place.length - len(thought.request.prompt)]
        view = View(place.thinking, thought.steps[:step], boundary, None, written)
        action = controller.decide(state, view)
        while isinstance(action, Probe):
            action = controller.decide(state, replace(view, belief=thought.belief(place, action)))
        if isinstance(action, Conclude):
            return place
        if not isinstance(action, Continue):
            raise ValueError(f"'{controller.spec()}' writes into the thought; run it")
