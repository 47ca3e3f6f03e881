"""One attempt, a plain vote and other scaling policies on the same problems, one straight after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from laconic.bench.provenance import provenance
from laconic.bench.stats import bootstrap_ratio, rotation
from laconic.bench.tasks import Item
from laconic.engine import Engine
from laconic.errors import TaskError
from laconic.intervals import wilson
from laconic.scaling.base import Answered
from laconic.types import Limits, Sampling

VOTE = "self-consistency"
"""What others are held against."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to answer: a name, an engine, and a scaling policy with the attempts that it may make.

    Without a policy it is one attempt under the engine's own methods.
    """

    name: str
    engine: Engine
    scaling: str = ""
    most: int = 1

    def answer(self, question: str, sampling: Sampling, limits: Limits) -> Answered:
        """Answer a question."""
        return self.engine.answer(
            question, scaling=self.scaling or VOTE, n=self.most if self.scaling else 1, sampling=sampling, limits=limits
        )


@dataclass(slots=True)
class Row:
    """What a way made of one problem."""

    right: bool | None
    answer: str
    confidence: float
    tokens: int
    thinking: int
    sequential: int
    passes: int
    attempts: int
    seconds: float
    drafted: int
    accepted: int


@dataclass(slots=True)
class Compared:
    """Rows by way, problem by problem: those that every way has finished."""

    ways: list[str]
    items: list[str] = field(default_factory=list)
    rows: dict[str, list[Row]] = field(default_factory=dict)
    failures: list[dict[str, str]] = field(default_factory=list)
    interrupted: bool = False


def ways(engine: Engine, specs: Sequence[str], most: int) -> list[Way]:
    """One attempt, the plain vote, and what else is named; the engine's own controllers act in all of them.

    Each has a drafter of its own: attempts of the same seeds are the same texts, which one way would else have written
    for the next to copy.
    """
    named = [Way("one attempt", engine.using()), Way(VOTE, engine.using(), VOTE, most)]
    return named + [Way(spec, engine.using(), spec, most) for spec in dict.fromkeys(specs) if spec != VOTE]


def compare(
    ways: Sequence[Way],
    items: Sequence[Item],
    sampling: Sampling,
    limits: Limits,
    after: Callable[[Compared], Any] = lambda _: None,
) -> Compared:
    """Answer every problem in every way, in an order that rotates. A problem that fails in one enters no number.

    ``after`` is told of all so far, problem by problem. Ctrl-C ends it with what is complete.
    """
    found = Compared([way.name for way in ways], rows={way.name: [] for way in ways})
    try:
        for way in ways:  # the first passes of a process are slow
            way.answer("What is 2 + 3?", sampling, limits)
        for turn, item in enumerate(items):
            rows: dict[str, Row] = {}
            for way in rotation(ways, turn):
                try:
                    rows[way.name] = _row(way, item, sampling, limits)
                except Exception as error:  # whatever a model or a judge may raise: reported, and never counted
                    message = f"{type(error).__name__}: {error}"
                    found.failures.append({"item": item.id, "way": way.name, "error": message})
                    break
            if len(rows) == len(ways):
                found.items.append(item.id)
                for name, row in rows.items():
                    found.rows[name].append(row)
            after(found)
    except KeyboardInterrupt:
        found.interrupted = True
    if not found.items:
        raise TaskError("no problem was answered in every way.", found.failures[0]["error"] if found.failures else "")
    return found


def _row(way: Way, item: Item, sampling: Sampling, limits: Limits) -> Row:
    begun = time.perf_counter()
    got = way.answer(item.question, sampling, limits)
    seconds = time.perf_counter() - begun
    right = item.judge_answer(got.candidates[0].answer) if got.candidates else item.judge(got.result.answer)
    usage = got.usage
    return Row(
        right, got.answer, got.confidence, usage.generated, usage.thinking, got.sequential, got.passes,
        len(got.attempts), seconds, usage.drafted, usage.accepted,
    )  # fmt: skip


def summary(found: Compared, name: str) -> dict[str, Any]:
    """A way's numbers, and its ratios to the plain vote, with 95 % intervals."""
    rows, votes = found.rows[name], found.rows.get(VOTE)
    n = len(rows)
    judged = [row for row in rows if row.right is not None]
    right = sum(bool(row.right) for row in judged)
    told: dict[str, Any] = {
        "n": n,
        "accuracy": right / len(judged) if judged else None,
        "accuracy_ci": list(wilson(right, len(judged))) if judged else None,
        "attempts": sum(row.attempts for row in rows) / n,
        "tokens": sum(row.tokens for row in rows) / n,
        "thinking": sum(row.thinking for row in rows) / n,
        "sequential": sum(row.sequential for row in rows) / n,
        "passes": sum(row.passes for row in rows) / n,
        "seconds": sum(row.seconds for row in rows) / n,
    }
    if votes is not None:
        for key in ("tokens", "passes", "seconds"):
            pairs = [(getattr(a, key), getattr(b, key)) for a, b in zip(rows, votes, strict=True)]
            below = sum(b for _, b in pairs)
            told[f"{key}_of_vote"] = sum(a for a, _ in pairs) / below if below else None
            told[f"{key}_of_vote_ci"] = bootstrap_ratio(pairs) if below else None
        told["won"] = sum(bool(a.right) and not b.right for a, b in zip(rows, votes, strict=True))
        told["lost"] = sum(bool(b.right) and not a.right for a, b in zip(rows, votes, strict=True))
    return told


def record(found: Compared, ways: Sequence[Way], sampling: Sampling, limits: Limits, model: str) -> dict[str, Any]:
    """All numbers, ready for JSON."""
    return {
        "format": "laconic-attempts-1",
        "ways": {way.name: summary(found, way.name) for way in ways},
        "setup": {
            "model": model,
            "attempts": max(way.most for way in ways),
            "sampling": asdict(sampling),
            "max_new_tokens": limits.max_new_tokens,
            "engine": ways[0].engine.describe()["methods"],
        },
        "items": [
            {"id": item, **{name: asdict(found.rows[name][at]) for name in found.ways}}
            for at, item in enumerate(found.items)
        ],
        "failures": found.failures,
        "interrupted": found.interrupted,
        "provenance": provenance(),
    }
