"""Short traces for easy problems, long ones for hard problems."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from laconic.policy import Card, knobs
from laconic.training.traces.base import Dropped, Example, Row, Tools, TraceTransform, rights, wrongs
from laconic.training.traces.trace import Problem, Trace


@knobs
class Proportional(TraceTransform):
    """The right trace whose place among the right ones by length is the problem's difficulty.

    Less is More Tokens (catalogue 69) trains on traces whose length is proportional to the difficulty of their
    problem. The rule is this project's reading of that aim: difficulty is the share ``d`` of the problem's traces
    that are wrong, and of ``n`` right ones by length the one at ``round(d * (n - 1))`` is taken, the shortest for a
    problem that is always solved. Trap: with few traces a problem the difficulty is coarse.
    """

    card = Card(paper="Less is More Tokens", lossless=False, catalogue=(69,))

    def rows(self, problem: Problem, traces: Sequence[Trace], tools: Tools) -> Iterator[Row]:
        """One row at most."""
        yield from (Dropped(trace, "its answer is wrong") for trace in wrongs(traces))
        right = rights(traces)
        if right:
            difficulty = 1 - len(right) / len(traces)
            yield Example.of(right[round(difficulty * (len(right) - 1))])
