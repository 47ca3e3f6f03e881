"""Thoughts without the steps that begin as expected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from laconic.errors import TraceError
from laconic.policy import Card, knobs
from laconic.thinking.scores.surprise import first_token_surprisal
from laconic.thinking.scores.trace import STEP, starts
from laconic.training.traces.base import EachTrace, Example, Row, Tool, Tools
from laconic.training.traces.surprisal import logprobs
from laconic.training.traces.trace import Problem, Trace


@knobs
class ASAP(EachTrace):
    """Right traces without the steps whose first token surprised the model least, down to ``ratio`` of the thought.

    Pruning the Unsurprising (ASAP), its second stage: a step is worth the negative log-probability of its first token
    in the whole trace, and those worth least go until the thought has ``ratio`` of its tokens or fewer. The first
    step stays, which begins the thought; that is this project's choice. The first stage, in which a large model
    prunes the thought along a direct answer, is not built. The authors' budget is a number of tokens; give the share
    that comes to it.
    """

    card = Card(paper="Pruning the Unsurprising (ASAP)", lossless=False, catalogue=(240,))
    asks: ClassVar[frozenset[Tool]] = frozenset({"model"})

    ratio: Annotated[float, Field(gt=0, le=1)]
    """Share of the thought's tokens that may stay."""

    def row(self, problem: Problem, trace: Trace, tools: Tools) -> Iterator[Row]:
        """One row. Raises TraceError where tokens do not show the steps."""
        assert tools.engine is not None
        text, prompt = tools.renderer.text, tools.renderer.prompt(problem.messages)
        ids, steps = text.encode(trace.thought), trace.steps
        begins = starts([text.piece(id) for id in ids])
        if len(begins) != len(steps):
            raise TraceError("its steps are other ones in the model's tokens")
        said = logprobs(tools.engine, [*prompt.ids, *text.encode(prompt.opening)], ids)
        sizes = [tools.renderer.tokens(step + STEP) for step in steps.texts]
        kept = kept_steps(first_token_surprisal(said, begins), sizes, self.ratio * sum(sizes))
        thought = STEP.join(step for step, keep in zip(steps.texts, kept, strict=True) if keep)
        yield Example(trace, thought, trace.reply, note={"steps": sum(kept), "steps_before": len(steps)})


def kept_steps(worth: Sequence[float], sizes: Sequence[int], most: float) -> list[bool]:
    """Which steps stay, if the least worth go, the first never, until their sizes sum to ``most`` or less.

    >>> kept_steps([0.1, 2.0, 0.5, 1.0], [4, 4, 4, 4], 8)
    [True, True, False, False]
    """
    kept, left = [True] * len(worth), sum(sizes)
    for at in sorted(range(1, len(worth)), key=lambda at: worth[at]):
        if left <= most:
            break
        kept[at], left = False, left - sizes[at]
    return kept
