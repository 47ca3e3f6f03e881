"""Long thoughts and compressed ones, told apart by a condition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from laconic.errors import TraceError
from laconic.policy import Card, knobs
from laconic.training.traces.base import EachTrace, Example, Row, Tool, Tools
from laconic.training.traces.rewriting import rewritten
from laconic.training.traces.trace import Problem, Trace

_COMPRESS = (
    "Shorten the reasoning below. Keep every number and deduction that the answer needs; leave out repetition and "
    "doubt. Write the shortened reasoning and nothing else."
)


@knobs
class C3oT(EachTrace):
    """Two rows of each right trace: the thought as it was, and compressed by the rewriter, below different conditions.

    C3oT: a compressor shortens the thought and keeps what it needs, a model is trained on both with different words
    before the question, and asked with those of the short one. The reply is the same in both. The authors'
    instruction to the compressor and their conditions are not known for sure; both are knobs. A trace that the
    rewriter did not shorten is dropped, long half included.
    """

    card = Card(paper="C3oT", lossless=False, catalogue=(22,))
    asks: ClassVar[frozenset[Tool]] = frozenset({"rewriter"})

    long: str = "Think at length."
    """What stands before the question of the thought as it was."""
    short: str = "Think briefly."
    """What stands before the question of the compressed thought."""
    instruction: str = _COMPRESS
    """What the rewriter is told."""

    def row(self, problem: Problem, trace: Trace, tools: Tools) -> Iterator[Row]:
        """Both rows."""
        assert tools.rewriter is not None
        if not trace.thought:
            raise TraceError("it has no thought")
        thought = rewritten(tools.rewriter, self.instruction, f"Question: {problem.question}\n\n{trace.thought}")
        if tools.renderer.tokens(thought) >= tools.renderer.tokens(trace.thought):
            raise TraceError("the rewriter did not shorten it")
        yield Example(trace, trace.thought, trace.reply, prefix=self.long, note={"condition": "long"})
        yield Example(trace, thought, trace.reply, prefix=self.short, note={"condition": "short"})
