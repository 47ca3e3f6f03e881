"""Thoughts without the tokens that matter least."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from laconic.policy import Card, knobs
from laconic.training.traces.base import EachTrace, Example, Row, Tool, Tools
from laconic.training.traces.surprisal import logprobs
from laconic.training.traces.trace import Problem, Trace

_WORD = re.compile(r"\s*\S+")


def _split(given: object) -> object:
    return tuple(given.split("/")) if isinstance(given, str) else given


Ratios = Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], BeforeValidator(_split), Field(min_length=1)]
"""A knob: shares, written 1.0/0.9/0.8."""


@knobs
class TokenSkip(EachTrace):
    """Right traces, each with a share of its thought's tokens, drawn from ``ratios``, and the share said in the prompt.

    TokenSkip drops the least important words from thoughts, to a ratio of tokens that is drawn for each, and puts the
    ratio behind the question between two end tokens, so that it can be asked for later; a whole thought has none. The
    authors' measure of importance is a classifier (LLMLingua-2); here it is surprisal, their baseline (Selective
    Context): the mean negative log-probability of a word's tokens to the model, which reads the whole trace. A word
    is dropped with the white space before it. Trap: what is left is no sentence, and numbers carry the thought, so
    words with a digit are kept and count for the ratio, which a thought of many numbers does not reach.
    """

    card = Card(paper="TokenSkip", lossless=False, arxiv="2502.12067")
    asks: ClassVar[frozenset[Tool]] = frozenset({"model"})

    ratios: Ratios = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
    """Shares of the thought's tokens that are kept; one is drawn for each trace. Written 1.0/0.9/0.5."""
    digits: bool = True
    """Whether words with a digit are always kept."""
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
        words = _WORD.findall(trace.thought)
        tokens = [text.encode(word) for word in words]
        before = [*prompt.ids, *text.encode(prompt.opening)]
        said = iter(logprobs(tools.engine, before, [token for word in tokens for token in word]))
        worth = [-statistics.fmean(next(said) for _ in word) for word in tokens]
        always = [self.digits and any(map(str.isdigit, word)) for word in words]
        kept = kept_words(worth, [len(word) for word in tokens], always, ratio)
        thought = "".join(word for word, keep in zip(words, kept, strict=True) if keep).strip()
        end = tools.renderer.ending
        suffix = f"{end}{ratio:g}{end}" if self.said else ""
        yield Example(trace, thought, trace.reply, suffix=suffix, note={"ratio": ratio})


def kept_words(worth: Sequence[float], sizes: Sequence[int], always: Sequence[bool], ratio: float) -> list[bool]:
    """Which words are kept: those of ``always``, and those of most worth that fit into ``ratio`` of all sizes.

    >>> kept_words([3.0, 1.0, 2.0, 0.5], [1, 1, 2, 1], [False, False, False, True], 0.8)
    [True, False, True, True]
    """
    left = ratio * sum(sizes) - sum(size for size, keep in zip(sizes, always, strict=True) if keep)
    kept = list(always)
    for at in sorted((at for at, keep in enumerate(always) if not keep), key=lambda at: -worth[at]):
        if sizes[at] > left:
            break
        kept[at], left = True, left - sizes[at]
    return kept
