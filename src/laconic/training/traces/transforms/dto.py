"""Thoughts that leave where they were enough, against the thoughts that went on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import ClassVar

from laconic.errors import TraceError
from laconic.policy import Card, Family, knobs
from laconic.training.traces.base import EachTrace, Example, Pair, Row, Sufficiency, Tools, stated
from laconic.training.traces.sufficient import turns
from laconic.training.traces.trace import Problem, Trace


@knobs
class DTO(EachTrace):
    """A thought up to the end of the first pattern after which its answer is right, preferred to the whole of it.

    Don't Think Longer, Think Wisely (dynamic thinking pattern optimization): a thought is cut into patterns, left at
    the earliest pattern whose forced answer is right, and finished there. Patterns here begin with a step that turns
    back on the thought. Wrong traces are used too where they were right on the way; their new reply is ``The answer
    is`` and the boxed right answer. What the authors do besides is left out: an auxiliary model that prunes patterns
    on the way, and the words of their finishing pattern. They estimate rightness by sampled endings; with
    ``sufficiency=[asked]`` it is the model's greedy one. They train with SimPO, for which TRL has a trainer.
    """

    card = Card(paper="Don't Think Longer, Think Wisely (DTO)", lossless=False, catalogue=(62,))
    parts: ClassVar[Mapping[str, Family]] = {"sufficiency": "sufficiency"}
    makes = "pairs"
    alone = True
    wrong = True

    sufficiency: Sufficiency = field(default_factory=stated)
    """Says after which steps the answer is right."""

    def row(self, problem: Problem, trace: Trace, tools: Tools) -> Iterator[Row]:
        """One pair at most."""
        right, texts = self.sufficiency.right(problem, trace, tools), trace.steps.texts
        ends = [end for end in turns(texts, 1) if end]
        end = next((end for end in ends if right and right[end - 1]), None)
        if end is None:
            raise TraceError("its thought never comes to the right answer")
        if end == len(texts) and trace.right:
            raise TraceError("there is nothing behind its first right answer")
        reply = trace.reply if trace.right else f"The answer is \\boxed{{{problem.answer}}}."
        note = {"steps": end, "steps_before": len(texts), "was_right": bool(trace.right)}
        yield Pair(Example(trace, trace.steps.upto(end), reply, note=note), Example.of(trace))
