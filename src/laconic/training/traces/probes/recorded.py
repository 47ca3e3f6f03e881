"""Probes that were recorded along with the thought."""

from __future__ import annotations

from typing import ClassVar

from laconic.equality import same
from laconic.policy import Card, knobs
from laconic.training.traces.base import Sufficiency, Tools
from laconic.training.traces.trace import Problem, Trace


@knobs
class Recorded(Sufficiency):
    """A thought is answered rightly where the last probe that was recorded by then found the right answer.

    laconic's recordings of attempts (``scripts/scaling.py record``) hold what a probe found at the end of each step.
    Before the first probe nothing is known, which counts as not yet right; a trace without any probe is never right.
    """

    card = Card(paper="laconic's own", lossless=False)
    looks: ClassVar[bool] = True

    def right(self, problem: Problem, trace: Trace, tools: Tools) -> list[bool]:
        """The last look at or before the end of each step."""
        answers = [""] * (len(trace.steps) + 1)
        for look in trace.looks:
            done = trace.steps.done(look.chars)
            answers[done:] = [look.answer] * (len(answers) - done)
        return [bool(answer) and same(problem.answer or "", answer) for answer in answers[1:]]
