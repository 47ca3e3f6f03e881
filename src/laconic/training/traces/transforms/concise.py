"""Traces that were written under confidence injection and early stopping, against those written without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from laconic.policy import Card, knobs
from laconic.training.traces.base import Example, Pair, Row, Tools, TraceTransform, rights
from laconic.training.traces.trace import Problem, Trace


@knobs
class ConCISE(TraceTransform):
    """The shortest right trace of the recording labelled ``label``, preferred to each longer right one of the main one.

    ConCISE has a model think under confidence injection and early stopping, and prefers what comes of it to the
    model's plain thoughts (SimPO; the authors also train on it alone, for which ``shortest`` does). laconic records
    both: the labelled recording under ``--think confidence-injection+confidence-probe``, the main one without. What
    may be said of how far the two recordings differ besides, this cannot see.
    """

    card = Card(paper="ConCISE", lossless=False, catalogue=(244,))
    makes = "pairs"

    label: str = "concise"
    """Label of the recording with concise thoughts (``--with concise=FILE``)."""

    def labels(self) -> tuple[str, ...]:
        """The concise recording's."""
        return (self.label,)

    def rows(self, problem: Problem, traces: Sequence[Trace], tools: Tools) -> Iterator[Row]:
        """One concise trace against each plain one that is longer."""
        concise = rights([trace for trace in traces if trace.label == self.label])
        for plain in rights([trace for trace in traces if trace.label != self.label]) if concise else ():
            if plain.tokens > concise[0].tokens:
                yield Pair(Example.of(concise[0]), Example.of(plain))
