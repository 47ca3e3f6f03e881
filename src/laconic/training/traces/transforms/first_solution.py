"""Thoughts cut behind their first right answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from typing import Annotated, ClassVar

from pydantic import Field

from laconic.policy import Card, Family, knobs
from laconic.training.traces.base import EachTrace, Example, Row, Sufficiency, Tools, stated
from laconic.training.traces.sufficient import enough, rounds
from laconic.training.traces.trace import Problem, Trace


@knobs
class FirstSolution(EachTrace):
    """A right trace, its thought cut behind the first step after which its answer is right, and the reply as it was.

    Do NOT Think That Much for 2+3=? (arXiv:2412.21187): first-correct solutions, and with ``more`` = 1 the variant
    that keeps one round of reflection, which the authors found to keep accuracy on hard problems. A round here is
    what follows up to the next step that begins by turning back on the thought. ``stays`` asks for the first step
    from which on the answer never changes again.
    """

    card = Card(paper="Do NOT Think That Much for 2+3=?", lossless=False, arxiv="2412.21187")
    parts: ClassVar[dict[str, Family]] = {"sufficiency": "sufficiency"}

    sufficiency: Sufficiency = field(default_factory=stated)
    """Says after which steps the answer is right."""
    more: Annotated[int, Field(ge=0)] = 0
    """Rounds of reflection that are kept behind the first solution."""
    stays: bool = False
    """Whether the answer must stay right in all that follows."""

    def row(self, problem: Problem, trace: Trace, tools: Tools) -> Iterator[Row]:
        """One row, or the reason why there is none."""
        first, texts = enough(problem, trace, self.sufficiency, tools, stays=self.stays), trace.steps.texts
        end = rounds(texts, first, self.more)
        yield Example(trace, trace.steps.upto(end), trace.reply, note={"steps": end, "steps_before": len(texts)})
