"""Pairs that choose between long and short thinking, and the shorter one within it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.training.traces.base import Example, Pair, Row, Tools, TraceTransform, rights, wrongs
from laconic.training.traces.trace import Problem, Trace


@knobs
class AdaR1(TraceTransform):
    """Bi-level pairs: the style of thinking that pays at this problem against the other, and short against long in it.

    AdaR1, after the authors' public code. The main recording is of a model with long thoughts, the one labelled
    ``short`` of one with short thoughts. The long style is preferred where its accuracy is more than half a trace
    above the short one's (``1 / 2K`` of K), else the short one. *Group pairs*: right traces of the preferred style
    (it has some, or the problem is left out) against wrong ones of the other, or any of it where none is wrong;
    ``group`` of them at random. *Instance pairs*: the shortest right trace of the preferred style against its
    ``instance`` longest wrong ones, or the longest right ones where none is wrong. Trap in that code: with few traces
    it pairs the shortest one with itself.

    With replies without a thought as ``short`` and ``instance=0`` it teaches when to think at all, which is the choice
    that EconProver trains by DPO; that prefers no thought wherever one such reply is right, AdaR1 where it costs less
    than half a trace of accuracy.
    """

    card = Card(paper="AdaR1; EconProver (dynamic switching)", lossless=False, catalogue=(50, 129))
    makes = "pairs"

    short: str = "short"
    """Label of the recording with short thoughts (``--with short=FILE``)."""
    group: Annotated[int, Field(ge=0)] = 4
    """Pairs of one problem between styles, at most (the authors' M1)."""
    instance: Annotated[int, Field(ge=0)] = 2
    """Pairs of one problem within the preferred style, at most (the authors' M2)."""

    def labels(self) -> tuple[str, ...]:
        """The short recording's."""
        return (self.short,)

    def rows(self, problem: Problem, traces: Sequence[Trace], tools: Tools) -> Iterator[Row]:
        """Group pairs, then instance pairs."""
        long = [trace for trace in traces if trace.label != self.short]
        short = [trace for trace in traces if trace.label == self.short]
        if not long or not short:
            return
        gain = _accuracy(long) - _accuracy(short) - 1 / (2 * len(long))
        preferred, other = (long, short) if gain > 0 else (short, long)
        right, wrong = rights(preferred), wrongs(preferred)
        if not right:
            return
        both = [(one, against) for one in right for against in wrongs(other) or other]
        for one, against in tools.random(problem).sample(both, min(self.group, len(both))):
            yield _pair(one, against, "group")
        worse = wrong or right[:0:-1]
        for against in worse[: self.instance]:
            yield _pair(right[0], against, "instance")


def _accuracy(traces: Sequence[Trace]) -> float:
    return len(rights(traces)) / len(traces)


def _pair(chosen: Trace, rejected: Trace, level: str) -> Pair:
    return Pair(Example(chosen, chosen.thought, chosen.reply, note={"level": level}), Example.of(rejected))
