"""Where controllers would have ended a thought that was written to its end.

A controller sees the thought up to a check point, and what probes find there; nothing that comes later. So one finished
thought tells where every controller, at every setting, would have ended it, and many can be compared on the same texts
at the price of one. What the model would have answered there is its greedy answer, asked as probes ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing as closing_slot
from dataclasses import replace
from functools import cached_property

import torch

from laconic.bench.along import read
from laconic.bench.oracle.thought import ASK, Ending, beliefs, outline
from laconic.models.base import LanguageModel, ShowsHidden
from laconic.models.text import Text
from laconic.thinking.base import Belief, Closing, Conclude, Continue, Controller, LogitRule, Probe, View, chances
from laconic.transcript import Transcript
from laconic.types import Request


class Thought:
    """A finished thought. ``tokens`` are those after the prompt.

    Raises ValueError where there is no thought, or it was cut off.
    """

    def __init__(self, model: LanguageModel, text: Text, request: Request, tokens: Sequence[int]) -> None:
        self.request = request
        self.text, self.tokens = text, tokens
        self._model = model
        self._found: dict[tuple[Probe, bool], dict[Ending, Belief]] = {}
        self._hidden = False
        found = outline(text, request, tokens, keep_steps=True)
        if found is None:
            raise ValueError("the thought was never closed")
        self._lengths = found.lengths
        tag = text.format.closes
        self.closing = found.own.thinking - len(text.encode(tag))
        """Thinking tokens before the closing tag."""
        self.ends = [*found.ends, found.own]
        """Ends of steps, and the thought's own end, the last."""
        self.steps = found.steps
        """Text of every finished step."""

    @cached_property
    def chances(self) -> list[float]:
        """The model's probability of each token after the prompt."""
        found: list[float] = []
        with closing_slot(self._model.open()) as slot:
            for scores in read(self._model, slot, self.request.prompt, self.tokens):
                rows = scores.of(0)
                found += chances(rows, self.tokens[len(found) : len(found) + len(rows)])
        return found

    def show_hidden(self) -> None:
        """Let beliefs come with hidden states from now on. Raises ValueError for a model that shows none."""
        if not isinstance(self._model, ShowsHidden):
            raise ValueError("the model shows no hidden states")
        self._model.keep_hidden = self._hidden = True

    def shaped_by(self, rule: LogitRule) -> bool:
        """Whether ``rule`` changes logits, all equal, anywhere in the thought. Rules of the answer do not."""
        transcript = Transcript(self.text, self.request, list(self.request.prompt), keep_steps=True)
        flat = torch.zeros(self._model.vocab_size)
        for token in self.tokens[: self.ends[-1].length - len(self.request.prompt)]:
            if rule(flat, transcript.place()) is not None:
                return True
            transcript.push(token)
        return False

    def after(self, thinking: int) -> Ending:
        """The place after so many thinking tokens."""
        return Ending(self._lengths[thinking], thinking)

    def belief(self, place: Ending, ask: Probe = ASK) -> Belief:
        """What the model would answer at ``place``; all ends of steps are asked about together."""
        key = replace(ask, guess="", hopeless=None), self._hidden
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

    What it does to the answer alone is left out. Raises ValueError for one that writes into the thought, steers the
    model or shapes logits there, since what the thought would have become is not known; and where hidden states are
    looked at and not shown.
    """
    if controller.needs.target_hidden:
        thought.show_hidden()
    state = controller.start(thought.request, thought.text)
    rule = controller.rule(state)
    if controller.steering(state) or (rule is not None and thought.shaped_by(rule)):
        raise ValueError(f"'{controller.spec()}' changes what is written; run it")
    own, step, place = thought.ends[-1], 0, Ending(0, 0)
    while True:
        limit = controller.limit(state)
        following = thought.ends[step]
        if limit is not None and place.thinking < limit < following.thinking:
            place, boundary = thought.after(limit), False
        elif following is own:
            if controller.closing:
                _act(controller, state, thought, replace(own, thinking=thought.closing), step, closing="tag")
            return own
        else:
            place, boundary, step = following, True, step + 1
        if _act(controller, state, thought, place, step, boundary=boundary):
            return place


def _act(
    controller: Controller,
    state: object,
    thought: Thought,
    place: Ending,
    steps: int,
    *,
    boundary: bool = False,
    closing: Closing = "",
) -> bool:
    """Ask at a place; whether the thought is to end there. Raises ValueError for what would be written into it."""
    size = place.length - len(thought.request.prompt)
    said = thought.chances[:size] if controller.needs.chances else ()
    view = View(place.thinking, thought.steps[:steps], boundary, None, thought.tokens[:size], closing, said)
    action = controller.decide(state, view)
    while isinstance(action, Probe):
        belief = thought.belief(place, action).until(action.hopeless)
        action = controller.decide(state, replace(view, belief=belief))
    if not isinstance(action, Conclude | Continue):
        raise ValueError(f"'{controller.spec()}' writes into the thought; run it")
    return isinstance(action, Conclude)
