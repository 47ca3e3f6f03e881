"""What the model itself would answer, were the thought to end at a step."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import Field

from laconic.bench.oracle.thought import ASK, beliefs, outline
from laconic.equality import same
from laconic.errors import TraceError
from laconic.policy import Card, Needs, knobs
from laconic.training.traces.base import Sufficiency, Tool, Tools
from laconic.training.traces.trace import Problem, Trace
from laconic.types import Request


@knobs
class AskedModel(Sufficiency):
    """A thought is answered rightly where the model's own greedy answer is right once its thought is closed there.

    The question that exits ask (``settled``, ``answer-agreement``), put at the end of every step of the recorded
    thought: the closing tag, ``The answer is \\boxed``, and the model's greedy answer. All places of a thought are
    branches of one reading of it, so a thought costs a few passes. Paper: laconic's own; DTO (catalogue 62) samples
    several such endings at each place instead. Trap: the model asked should be the one that is trained, whose answers
    matter.
    """

    card = Card(paper="laconic's own", lossless=False)
    needs = Needs(thinking=True)
    asks: ClassVar[frozenset[Tool]] = frozenset({"model"})

    most: Annotated[int, Field(ge=1)] = 32
    """Tokens of an answer at most."""

    def right(self, problem: Problem, trace: Trace, tools: Tools) -> list[bool]:
        """One reading of the thought. Raises TraceError for one that the model's context cannot hold."""
        engine, renderer = tools.engine, tools.renderer
        assert engine is not None
        prompt = renderer.prompt(problem.messages)
        tokens = engine.text.encode(renderer.completion(problem.messages, trace.thought, trace.reply))
        if len(prompt.ids) + len(tokens) + self.most >= engine.target.context:
            raise TraceError("longer than the model's context")
        request = Request(prompt.ids, phase=prompt.phase)
        found = outline(engine.text, request, tokens, keep_steps=True)
        if found is None or len(found.ends) not in (len(trace.steps), len(trace.steps) - 1):
            raise TraceError("its steps are other ones in the model's tokens")
        places = [*found.ends, found.own][: len(trace.steps)]
        ask = replace(ASK, max_tokens=self.most)
        told = beliefs(engine.target, engine.text, request, tokens, places, ask) if places else []
        return [bool(b.complete and b.answer) and same(problem.answer or "", b.answer) for b in told]
