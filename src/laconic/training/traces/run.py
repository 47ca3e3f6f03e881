"""A whole run: recorded traces in, rows of data out, and an account of what became of every trace."""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from laconic.errors import RequestError, TraceError, UnmetNeed
from laconic.training.traces.base import (
    Dropped,
    Fact,
    Pair,
    Row,
    Selector,
    Sufficiency,
    Tool,
    Tools,
    TraceTransform,
    rights,
)
from laconic.training.traces.reading import Source, Survey
from laconic.training.traces.trace import Problem, Trace
from laconic.training.traces.writing import fact, line

NOT_CHOSEN = "not chosen"
"""What becomes of a trace that a transform passed over without a reason of its own."""
_MISSING: dict[Tool, tuple[str, str]] = {
    "model": ("the weights of the model that is trained", "They are loaded with --model; a server has none to show."),
    "rewriter": ("a model that rewrites", "Name one with --rewriter, or a server's with --rewriter-url."),
}


@dataclass
class Account:
    """What became of a recording. Tokens are those of whole replies: of all traces, and of the rows before and after.

    ``before`` of a pair is the rejected reply. ``dropped`` counts traces by the reason, ``unusable`` records.
    """

    method: str
    selector: str
    makes: str
    traces: int = 0
    problems: int = 0
    solved: int = 0
    rows: int = 0
    kept: int = 0
    """Problems with a row."""
    trace_tokens: int = 0
    before: int = 0
    after: int = 0
    unselected: int = 0
    """Rows that the selector left out."""
    context: int | None = None
    """Tokens that the model can read, where that is known."""
    longer: int = 0
    """Rows, pairs by their longer side, that are longer with their prompt."""
    dropped: Counter[str] = field(default_factory=Counter)
    unusable: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**vars(self), "dropped": dict(self.dropped), "unusable": dict(self.unusable)}


def policies(transform: TraceTransform) -> Iterator[TraceTransform | Sufficiency]:
    """The transform and what says to it when a thought was enough."""
    for policy in transform.walk():
        assert isinstance(policy, TraceTransform | Sufficiency)
        yield policy


def asks(transform: TraceTransform) -> frozenset[Tool]:
    """The tools that a transform and its parts need."""
    return frozenset[Tool]().union(*(policy.asks for policy in policies(transform)))


def convert(
    source: Source,
    out: str | Path,
    transform: TraceTransform,
    tools: Tools,
    selector: Selector | None = None,
    after: Callable[[int], None] = lambda problems: None,
    survey: Survey | None = None,
) -> Account:
    """Write the rows that ``transform`` makes of the traces of ``source``, those that ``selector`` keeps of them.

    ``out`` is there only once all of it is. ``after`` hears how many problems are done. ``survey`` is what
    the source holds, where that was asked already. Raises UnmetNeed for a
    transform that lacks a tool, RequestError for an ``out`` that is read from, TraceError for records that lack what
    is read (answers, probes, a labelled recording, a second trace), all before the run; and TraceError where no row
    came of it.
    """
    out = Path(out)
    if any(out.exists() and Path(path).exists() and out.samefile(path) for _, path in source.files):
        raise RequestError(f"'{out}' is what is read.", "Write to another file.")
    _equipped(transform, tools)
    survey = source.survey() if survey is None else survey
    check(transform, survey)
    account = Account(transform.spec(), "" if selector is None else selector.spec(), transform.makes)
    account.unusable, account.context = survey.unusable, tools.renderer.context
    handle, name = tempfile.mkstemp(prefix=f".{out.name}.", dir=out.parent)
    try:
        with os.fdopen(handle, "w+", encoding="utf-8") as file:
            facts, ends = _write(file, source, survey, transform, tools, account, after)
            if not facts:
                raise TraceError(f"no row came of {account.traces} traces: {_reasons(account)}.", "See docs/traces.md.")
            chosen: Sequence[int] = range(len(facts))
            if selector is not None:
                chosen = selector.choose(facts, random.Random(tools.seed))
                if not chosen:
                    raise TraceError(f"'{selector.spec()}' keeps none of {len(facts)} rows.", "Let it keep more.")
            _account(account, [facts[at] for at in chosen], len(facts))
            if selector is not None:
                _rewrite(file, ends, chosen)
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(out)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return account


def _equipped(transform: TraceTransform, tools: Tools) -> None:
    """Raise UnmetNeed for a tool that is missing."""
    have = {"model": tools.engine, "rewriter": tools.rewriter}
    for policy in policies(transform):
        for tool in sorted(policy.asks):
            if have[tool] is None:
                what, hint = _MISSING[tool]
                raise UnmetNeed(f"'{policy.name}' needs {what}.", hint)
        if policy.needs.thinking and not tools.renderer.text.format.thinks:
            raise UnmetNeed(f"'{policy.name}' needs a model with thinking tags.", "Use another sufficiency.")


def check(transform: TraceTransform, survey: Survey) -> None:
    """Raise TraceError for records that lack what is read: replies, answers, probes, labels, a second trace."""
    if not survey.traces:
        why = f": {next(iter(survey.unusable))}" if survey.unusable else ""
        raise TraceError(f"there is no recorded reply{why}.", "Forms that are read: docs/replay.md.")
    if not survey.answers:
        raise TraceError(
            f"'{transform.name}' must know which traces are right, and no record brings an answer.",
            "Give records an answer, or say where it is with --answer-field.",
        )
    for label in transform.labels():
        if not survey.labels[label]:
            raise TraceError(f"'{transform.name}' reads a recording '{label}'.", f"Give it with --with {label}=FILE.")
    if transform.makes == "pairs" and not transform.alone and max(survey.traces.values()) < 2:
        raise TraceError(
            f"'{transform.name}' pairs traces of one problem, and no problem has two.",
            "Record several replies to each.",
        )
    if not survey.looks and any(isinstance(policy, Sufficiency) and policy.looks for policy in policies(transform)):
        raise TraceError(
            "no record holds what probes found.", "Record attempts with scripts/scaling.py, or use another sufficiency."
        )


def _write(
    file: TextIO,
    source: Source,
    survey: Survey,
    transform: TraceTransform,
    tools: Tools,
    account: Account,
    after: Callable[[int], None],
) -> tuple[list[Fact], list[int]]:
    """Write all rows; what selectors are told of each, and the byte at which each begins, and the last ends."""
    facts: list[Fact] = []
    ends = [0]
    for problem, traces in source.problems(survey, tools.renderer, account.dropped):
        account.problems += 1
        account.traces += len(traces)
        account.trace_tokens += sum(trace.tokens for trace in traces)
        account.solved += any(trace.right for trace in traces)
        known = [trace for trace in traces if trace.right is not None]
        rate = len(rights(traces)) / len(known) if known else None
        for told in _lines(problem, traces, transform, tools, account):
            facts.append(fact(told, account.problems, rate, len(traces), tools.renderer))
            ends.append(ends[-1] + file.write(json.dumps(told) + "\n"))  # ASCII: as many bytes as characters
        after(account.problems)
    account.traces += account.dropped["it was cut off"]
    return facts, ends


def _lines(
    problem: Problem, traces: Sequence[Trace], transform: TraceTransform, tools: Tools, account: Account
) -> Iterator[dict[str, Any]]:
    if problem.answer is None:
        account.dropped["its problem has no answer"] += len(traces)
        return
    account.dropped["its answer cannot be read"] += sum(trace.right is None for trace in traces)
    traces = [trace for trace in traces if trace.right is not None]
    left = {id(trace) for trace in traces}
    for row in transform.rows(problem, traces, tools):
        if isinstance(row, Dropped):
            account.dropped[row.reason] += id(row.trace) in left
            left.discard(id(row.trace))
            continue
        told = line(problem, row, tools.renderer, transform.spec())
        for trace in _used(row):
            account.dropped["both sides of its pair are the same"] += told is None and id(trace) in left
            left.discard(id(trace))
        if told is not None:
            yield told
    account.dropped[NOT_CHOSEN] += len(left)


def _used(row: Row) -> list[Trace]:
    return [row.chosen.trace, row.rejected.trace] if isinstance(row, Pair) else [row.trace]


def _account(account: Account, kept: Sequence[Fact], rows: int) -> None:
    account.rows, account.unselected = len(kept), rows - len(kept)
    account.kept = len({fact.problem for fact in kept})
    account.before, account.after = sum(f.before for f in kept), sum(f.after for f in kept)
    account.longer = sum(account.context is not None and fact.whole > account.context for fact in kept)
    account.dropped += Counter()  # leaves out those that are 0


def _rewrite(file: TextIO, ends: Sequence[int], chosen: Sequence[int]) -> None:
    """Leave only the chosen lines in ``file``, in their order."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as kept:
        for at in chosen:
            file.seek(ends[at])
            kept.write(file.readline())
        file.seek(0)
        file.truncate()
        kept.seek(0)
        for text in kept:
            file.write(text)


def _reasons(account: Account) -> str:
    found = [f"{count} {reason}" for reason, count in account.dropped.most_common() if count]
    return "; ".join(found) or "nothing was made of them"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
