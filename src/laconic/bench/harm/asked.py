"""The calibration prompts, answered under free thinking and under every setting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from laconic.bench.harm.judge import Answer
from laconic.bench.oracle.exits import Thought, ended
from laconic.bench.tasks import Item
from laconic.engine import Engine
from laconic.thinking.base import Ban, Controller
from laconic.transcript import Transcript
from laconic.types import Request, Result

BATCH = 8
"""Requests at once; what is written does not depend on it."""
CHUNK = 8 * BATCH
"""Prompts after which harms are counted: a setting with too many is asked no further."""

Told = Callable[[str, int, int], Any]
"""Told of progress: what is run, prompts done, prompts in all."""


@dataclass(slots=True)
class Asked:
    """Asks. Texts of free thinking that a setting cannot have touched are not written again (:func:`untouched`)."""

    items: Sequence[Item]
    requests: Sequence[Request]
    told: Told
    results: list[Result] = field(default_factory=list)
    """Of free thinking."""
    free: list[Answer] = field(default_factory=list)
    reused: int = 0
    """Texts that were not written again, in all."""

    def freely(self, engine: Engine) -> list[Answer]:
        """Free thinking, to which settings are compared."""
        for part in self._parts():
            self.results += engine.run(self.requests[part], batch=BATCH)
            self.free += map(Answer.of, self.items[part], self.results[part])
            self.told("free thinking", len(self.free), len(self.items))
        return self.free

    def under(self, engine: Engine, stage: str, enough: Callable[[list[Answer]], bool]) -> list[Answer]:
        """The engine's own control, prompt by prompt in their order until the answers are ``enough``."""
        answers: list[Answer] = []
        for part in self._parts():
            found = dict.fromkeys(range(part.start, min(part.stop, len(self.items))))
            kept = [i for i in found if untouched(engine, self.requests[i], self.results[i])]
            run = [i for i in found if i not in set(kept)]
            results = engine.run([self.requests[i] for i in run], batch=BATCH)
            new = {i: Answer.of(self.items[i], result) for i, result in zip(run, results, strict=True)}
            answers += [new[i] if i in new else self.free[i] for i in found]
            self.reused += len(kept)
            self.told(stage, len(answers), len(self.items))
            if enough(answers):
                break
        return answers

    def _parts(self) -> list[slice]:
        return [slice(start, start + CHUNK) for start in range(0, len(self.items), CHUNK)]


def untouched(engine: Engine, request: Request, free: Result) -> bool:
    """Whether the engine's controllers, run on ``request``, would surely have written ``free``, which none had touched.

    Sure are greedy texts that came to their own end, and controllers that only count or read words: those that look at
    probabilities may see other ones in passes of another width.
    """
    if free.events or free.finish_reason != "stop" or not request.sampling.greedy:
        return False
    if engine.fitted(request) is not request:
        return False
    return all(_left_alone(engine, controller, request, free.tokens) for controller in engine.plan.controllers)


def _left_alone(engine: Engine, controller: Controller, request: Request, tokens: Sequence[int]) -> bool:
    needs, state = controller.needs, controller.start(request, engine.text)
    if controller.asks or needs.probabilities or needs.chances or needs.target_hidden or needs.steerable:
        return False
    if controller.answer_limit(state) is not None:
        return False
    rule = controller.rule(state)
    if rule is not None and not (isinstance(rule, Ban) and _allows(rule, engine, request, tokens)):
        return False
    try:
        thought = Thought(engine.target, engine.text, request, tokens)
        return ended(controller, thought) is thought.ends[-1]
    except ValueError:  # it would have written into the thought, or there is none
        return False


def _allows(rule: Ban, engine: Engine, request: Request, tokens: Sequence[int]) -> bool:
    """Whether none of these tokens is ruled out where it stands: then each is still the likeliest of what is left."""
    transcript = Transcript(engine.text, request, list(request.prompt), keep_steps=False)
    for token in tokens:
        if token in rule.banned(transcript.place()):
            return False
        transcript.push(token)
    return True
