"""Thoughts without the tokens that matter least."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from laconic.errors import TraceError
from laconic.policy import Card, knobs
from laconic.training.traces.base import EachTrace, Example, Row, Tool, Tools
from laconic.training.traces.surprisal import logprobs
from laconic.training.traces.trace import Problem, Trace


def _split(given: object) -> object:
    return tuple(given.split("/")) if isinstance(given, str) else given


Ratios = Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], BeforeValidator(_split), Field(min_length=1)]
"""A knob: shares, written 1.0/0.9/0.8."""


@knobs
class TokenSkip(EachTrace):
    """Right traces, each with a share of its thought's tokens, drawn from ``ratios``, and the share said in the prompt.

    TokenSkip drops the tokens of least importance from thoughts, to a ratio drawn for each, and puts the ratio behind
    the question between two end tokens, so that it can be asked for later; a whole thought has none. The authors'
    measure of importance is a classifier (LLMLingua-2); here it is surprisal, their baseline (Selective Context): the
    negative log-probability of a token to the model, which reads the whole trace. Trap: what is left is no sentence,
    and a digit that is dropped makes another number, so digits are kept and do count for the ratio.
    """

    card = Card(paper="TokenSkip", lossless=False, arxiv="2502.12067")
    asks: ClassVar[frozenset[Tool]] = frozenset({"model"})

    ratios: Ratios = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
    """Shares of the thought's tokens that are kept; one is drawn for each trace. Written 1.0/0.9/0.5."""
    digits: bool = True
    """Whether tokens with a digit are always kept."""
    said: bool = True
    """Whether the prompt says the ratio."""

    def row(self, problem: Problem, trace: Trace, tools: Tools) -> Iterator[Row]:
        """One row."""
        ratio = tools.random(trace).choice(self.ratios)
        if ratio == 1:
            yield Example(trace, trace.thought, trace.reply, note={"ratio": ratio})
            return
        assert tools.engine is not None
        text, prompt = tools.renderer.text, tools.renderer.prompt(problem.messages)
        ids = text.encode(trace.thought)
        surprise = [-said for said in logprobs(tools.engine, [*prompt.ids, *text.encode(prompt.opening)], ids)]
        kept = kept_tokens(surprise, [self.digits and any(map(str.isdigit, text.piece(id))) for id in ids], ratio)
        thought = text.decode([id for id, keep in zip(ids, kept, strict=True) if keep]).strip()
        if "\ufffd" in thought and "\ufffd" not in trace.thought:
            raise TraceError("the tokens that are left of it are no text")
        end = tools.renderer.ending
        suffix = f"{end}{ratio:g}{end}" if self.said else ""
        yield Example(trace, thought, trace.reply, suffix=suffix, note={"ratio": ratio})


def kept_tokens(surprise: list[float], always: list[bool], ratio: float) -> list[bool]:
    """Which tokens are kept: those of ``always``, and the most surprising others up to ``ratio`` of all.

    >>> kept_tokens([3.0, 1.0, 2.0, 0.5], [False, False, False, True], 0.5)
    [True, False, False, True]
    """
    room = max(round(ratio * len(surprise)) - sum(always), 0)
    others = sorted((at for at, keep in enumerate(always) if not keep), key=lambda at: -surprise[at])
    chosen = set(others[:room])
    return [keep or at in chosen for at, keep in enumerate(always)]
