"""The shortest right trace of each problem."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.training.traces.base import Dropped, Example, Row, Tools, TraceTransform, rights, wrongs
from laconic.training.traces.trace import Problem, Trace


@knobs
class Shortest(TraceTransform):
    """The ``keep`` shortest right traces of each problem, as they were written.

    TOPS samples answers at several efforts and trains on the shortest right one; Kimi k1.5's shortest rejection
    sampling does so with eight samples of one model. Which efforts were asked for is the recording's business. Trap:
    short right traces are found for easy problems first, so problems without any right trace are lost; the report
    counts them.
    """

    card = Card(paper="Towards Thinking-Optimal Scaling (TOPS); Kimi k1.5", lossless=False, catalogue=(8, 162))

    most: Annotated[int, Field(ge=1)] = 1
    """Traces of one problem at most."""

    def rows(self, problem: Problem, traces: Sequence[Trace], tools: Tools) -> Iterator[Row]:
        """The shortest first."""
        yield from (Dropped(trace, "its answer is wrong") for trace in wrongs(traces))
        yield from map(Example.of, rights(traces)[: self.most])
