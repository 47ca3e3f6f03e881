"""Thoughts rewritten to the length that their problem's difficulty calls for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from laconic.errors import TraceError
from laconic.policy import Card, knobs
from laconic.training.traces.base import EachTrace, Example, Row, Tool, Tools
from laconic.training.traces.rewriting import rewritten
from laconic.training.traces.trace import Problem, Trace

_JUDGE = "How difficult is the question below? Answer with one word: easy, medium or hard."
_TEMPLATES = {
    "easy": "Rewrite the reasoning below as one or two sentences that state the essential calculation.",
    "medium": "Rewrite the reasoning below as a short list of the steps that lead to the answer, a line each.",
    "hard": "Rewrite the reasoning below with its approach, the steps that the answer needs, and one check at the end.",
}
_ONLY = " Use only what it says. Write the rewritten reasoning and nothing else."


@knobs
class LiteCoT(EachTrace):
    """Right traces whose thought the rewriter rewrites to a template: the shorter, the easier it finds the problem.

    Difficulty-aware prompting (LiteCoT): one model judges how difficult the problem is and rewrites the thought to
    the template of that difficulty. The three difficulties and the words of judgement and templates are this
    project's; the authors' prompts could not be confirmed. A trace is dropped where the judgement is no difficulty,
    or where the rewritten thought is not shorter.
    """

    card = Card(paper="Concise Reasoning, Big Gains (LiteCoT, DAP)", lossless=False, catalogue=(241,))
    asks: ClassVar[frozenset[Tool]] = frozenset({"rewriter"})

    def row(self, problem: Problem, trace: Trace, tools: Tools) -> Iterator[Row]:
        """One row."""
        assert tools.rewriter is not None
        if not trace.thought:
            raise TraceError("it has no thought")
        said = rewritten(tools.rewriter, _JUDGE, problem.question).strip().strip(".*").lower()
        if said not in _TEMPLATES:
            raise TraceError("the rewriter named no difficulty")
        text = f"Question: {problem.question}\n\n{trace.thought}"
        thought = rewritten(tools.rewriter, _TEMPLATES[said] + _ONLY, text)
        if tools.renderer.tokens(thought) >= tools.renderer.tokens(trace.thought):
            raise TraceError("the rewriter did not shorten it")
        yield Example(trace, thought, trace.reply, note={"difficulty": said})
