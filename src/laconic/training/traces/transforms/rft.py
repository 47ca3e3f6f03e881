"""Every right trace: rejection sampling, the plain baseline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.training.traces.base import Dropped, Example, Row, Tools, TraceTransform
from laconic.training.traces.trace import Problem, Trace


@knobs
class RFT(TraceTransform):
    """The right traces as they were written, each text once; ``most`` of them at random.

    STaR (arXiv:2203.14465) keeps what led to the right answer, RFT (arXiv:2308.01825) samples several replies to each
    question and keeps all different right ones. Here two are different if their texts are; the authors of RFT compare
    the equations. Baseline: it teaches nothing about length, but for long traces having been wrong more often.
    """

    card = Card(paper="STaR; Scaling Relationship on Learning Mathematical Reasoning (RFT)", lossless=False,
                arxiv="2203.14465")  # fmt: skip

    most: Annotated[int, Field(ge=0)] = 0
    """Traces of one problem at most; 0 for all."""

    def rows(self, problem: Problem, traces: Sequence[Trace], tools: Tools) -> Iterator[Row]:
        """In the order of the recording."""
        seen: set[tuple[str, str]] = set()
        kept = []
        for trace in traces:
            text = (trace.thought, trace.reply)
            if not trace.right:
                yield Dropped(trace, "its answer is wrong")
            elif text in seen:
                yield Dropped(trace, "written before, word for word")
            else:
                kept.append(trace)
                seen.add(text)
        if 0 < self.most < len(kept):
            chosen = sorted(tools.random(problem).sample(range(len(kept)), self.most))
            kept = [kept[at] for at in chosen]
        yield from map(Example.of, kept)
