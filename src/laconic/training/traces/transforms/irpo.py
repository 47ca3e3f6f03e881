"""Right traces against wrong ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.training.traces.base import Example, Pair, Row, Tools, TraceTransform, rights, wrongs
from laconic.training.traces.trace import Problem, Trace


@knobs
class IRPO(TraceTransform):
    """Pairs of a right and a wrong trace of one problem, at random, up to ``pairs`` of each problem.

    Iterative Reasoning Preference Optimization: problems whose traces are all right or all wrong give none. The
    authors train on them with DPO and the likelihood of the chosen one (in TRL ``loss_type=["sigmoid", "sft"]`` with
    weights), and sample anew from what came of it; an iteration is a recording and a run of this. It says nothing
    about length: ReCUT's model for accuracy is trained on such pairs, its model for brevity on those of
    ``shortest-longest``, and the two are merged (``laconic merge``); how ReCUT samples its traces step by step is not
    built.
    """

    card = Card(paper="Iterative Reasoning Preference Optimization; ReCUT", lossless=False, catalogue=(73, 172))
    makes = "pairs"

    pairs: Annotated[int, Field(ge=1)] = 10
    """Pairs of one problem at most; the authors' number."""

    def rows(self, problem: Problem, traces: Sequence[Trace], tools: Tools) -> Iterator[Row]:
        """No pair twice."""
        both = [(right, wrong) for right in rights(traces) for wrong in wrongs(traces)]
        for right, wrong in tools.random(problem).sample(both, min(self.pairs, len(both))):
            yield Pair(Example.of(right), Example.of(wrong))
