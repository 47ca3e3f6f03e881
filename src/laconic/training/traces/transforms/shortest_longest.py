"""The shortest right trace against longer ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.training.traces.base import Example, Pair, Row, Tools, TraceTransform, rights, wrongs
from laconic.training.traces.trace import Problem, Trace


@knobs
class ShortestLongest(TraceTransform):
    """The shortest right trace of a problem, preferred to its longest right ones and to wrong ones that are longer.

    The long-to-short DPO of Kimi k1.5: rejected are right traces that are ``longer`` times as long or more, and wrong
    ones longer than the chosen one. The longest come first, up to ``pairs``. The same pairs without wrong ones
    (``wrong=no``) are the usual baseline "shortest against longest", and those of ReCUT's model for brevity.
    """

    card = Card(paper="Kimi k1.5 (long2short DPO); ReCUT", lossless=False, catalogue=(162, 172))
    makes = "pairs"

    pairs: Annotated[int, Field(ge=1)] = 1
    """Pairs of one problem at most."""
    longer: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.5
    """How many times as long as the chosen one a right trace must be to be rejected."""
    wrong: bool = True
    """Whether wrong traces are rejected too."""

    def rows(self, problem: Problem, traces: Sequence[Trace], tools: Tools) -> Iterator[Row]:
        """The shortest against each."""
        if not (right := rights(traces)):
            return
        best = right[0]
        worse = [trace for trace in right[1:] if trace.tokens >= self.longer * best.tokens]
        worse += [trace for trace in wrongs(traces) if trace.tokens > best.tokens] if self.wrong else []
        for other in sorted(worse, key=lambda trace: -trace.tokens)[: self.pairs]:
            yield Pair(Example.of(best), Example.of(other))
