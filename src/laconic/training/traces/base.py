"""Contracts of traces as data: what makes rows of traces, what says when a thought was enough, which rows are kept.

A transform sees one problem at a time, with all its recorded traces, and never another: so memory holds one problem.
A selector sees a few numbers about each finished row.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from laconic.errors import TraceError
from laconic.policy import Policy, registry
from laconic.training.traces.rendering import Renderer
from laconic.training.traces.trace import Problem, Trace

if TYPE_CHECKING:
    from laconic.engine import Engine

Tool = Literal["model", "rewriter"]


@dataclass(frozen=True)
class Tools:
    """What transforms may use. ``engine`` has the model's weights, and ``rewriter`` is a model that rewrites texts;
    None where the run has none, which is checked before it begins."""

    renderer: Renderer
    engine: Engine | None = None
    rewriter: Engine | None = None
    seed: int = 0

    def random(self, of: Problem | Trace) -> random.Random:
        """Random numbers of a problem's or trace's own: the same whatever comes before it."""
        return random.Random(f"{self.seed} {of.id}")


@dataclass(frozen=True, slots=True)
class Example:
    """A thought and a reply to learn, made of ``trace``.

    ``prefix`` is put before the question and ``suffix`` behind it, for methods with a condition; ``note`` holds values
    that the row says besides.
    """

    trace: Trace
    thought: str
    reply: str
    prefix: str = ""
    suffix: str = ""
    note: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    @staticmethod
    def of(trace: Trace) -> Example:
        """The trace as it is."""
        return Example(trace, trace.thought, trace.reply)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two replies to one question, of which the ``chosen`` one is to be preferred."""

    chosen: Example
    rejected: Example


@dataclass(frozen=True, slots=True)
class Dropped:
    """A trace of which no row was made, and why."""

    trace: Trace
    reason: str


Row = Example | Pair | Dropped


class TraceTransform(Policy):
    """Makes rows of the traces of one problem."""

    makes: ClassVar[Literal["examples", "pairs"]] = "examples"
    alone: ClassVar[bool] = False
    """Whether it makes pairs of single traces."""
    asks: ClassVar[frozenset[Tool]] = frozenset()
    """The tools that it cannot do without; its parts add theirs."""

    def rows(self, problem: Problem, traces: Sequence[Trace], tools: Tools) -> Iterator[Row]:
        """What becomes of traces that are all known to be right or wrong.

        Rows, and traces that were dropped for a reason worth telling; all other traces were just not chosen.
        """
        raise NotImplementedError

    def labels(self) -> tuple[str, ...]:
        """Labels of recordings that it reads beside the main one."""
        return ()


class EachTrace(TraceTransform):
    """Makes rows of each trace by itself; wrong ones are dropped, unless ``wrong`` says that they are used."""

    wrong: ClassVar[bool] = False

    def rows(self, problem: Problem, traces: Sequence[Trace], tools: Tools) -> Iterator[Row]:
        """The rows of each trace in turn. A TraceError about one is the reason for which it is dropped."""
        for trace in traces:
            if not trace.right and not self.wrong:
                yield Dropped(trace, "its answer is wrong")
                continue
            try:
                yield from self.row(problem, trace, tools)
            except TraceError as error:
                yield Dropped(trace, error.message)

    def row(self, problem: Problem, trace: Trace, tools: Tools) -> Iterator[Row]:
        """The rows of one trace. Raises TraceError where there can be none."""
        raise NotImplementedError


class Sufficiency(Policy):
    """Says after which steps of a thought its answer would be right: the one question behind every cut."""

    asks: ClassVar[frozenset[Tool]] = frozenset()
    looks: ClassVar[bool] = False
    """Whether it reads recorded probes."""

    def right(self, problem: Problem, trace: Trace, tools: Tools) -> list[bool]:
        """For each step of the thought, whether a thought that ended behind it would be answered rightly."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Fact:
    """What a selector knows of a row.

    ``pass_rate`` is the share of right ones of the ``attempts`` at its problem, which is given by its number. ``whole``
    counts the prompt and the longer side of a pair too.
    """

    problem: int
    pass_rate: float | None
    attempts: int
    before: int
    after: int
    whole: int


class Selector(Policy):
    """Chooses among finished rows."""

    def choose(self, facts: Sequence[Fact], random: random.Random) -> list[int]:
        """Indices of the rows that are kept, in the order in which they are written."""
        raise NotImplementedError


def stated() -> Sufficiency:
    """The sufficiency that needs no model: answers that the text states."""
    return cast(Sufficiency, registry.build("sufficiency", "stated"))


def rights(traces: Sequence[Trace]) -> list[Trace]:
    """The traces whose answer is right, shortest first; of equally long ones the first recorded."""
    return sorted((trace for trace in traces if trace.right), key=lambda trace: trace.tokens)


def wrongs(traces: Sequence[Trace]) -> list[Trace]:
    """The traces whose answer is wrong, longest first."""
    return sorted((trace for trace in traces if trace.right is False), key=lambda trace: -trace.tokens)


def room(rows: int, share: float) -> int:
    """How many of so many rows a share is, one at least where there is any.

    >>> room(200, 0.1), room(3, 0.1)
    (20, 1)
    """
    return min(max(round(rows * share), 1), rows)
