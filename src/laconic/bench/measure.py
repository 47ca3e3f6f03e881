"""Running several variants on the same problems, back to back and in rotating order, and keeping what each did."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from laconic.bench.stats import rotation
from laconic.bench.tasks import Item
from laconic.engine import Engine
from laconic.errors import TaskError
from laconic.models.base import LanguageModel, Scores, ScoreTree, Slot
from laconic.models.wrapper import Wrapper
from laconic.types import Request, Result

_WARM_UP = ("What is 2 + 3?", "What is 7 * 8?")
"""Asked before anything is timed. No task of ours asks them, so a drafter that learns across requests gains little."""
_BLOCK = 4
"""Requests per timed block, in batches."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a variant made of some requests, and how long its draft model alone was at work."""

    results: list[Result]
    draft_model_seconds: float = 0.0


class Variant(Protocol):
    """One way to answer: laconic under some methods, or a peer."""

    name: str

    def run(self, requests: Sequence[Request], batch: int) -> Run:
        """Answer all requests, ``batch`` at a time."""
        ...


class Stopwatch(Wrapper):
    """A language model that knows how long its passes took. Otherwise the model it wraps."""

    def __init__(self, model: LanguageModel, whole: Stopwatch | None = None) -> None:
        super().__init__(model)
        self._whole = whole
        self.seconds = 0.0

    def around(self, model: LanguageModel) -> LanguageModel:
        """A part of this model, whose passes count here, too."""
        return Stopwatch(model, self)

    def prefill(self, slot: Slot, tokens: Sequence[int]) -> int:
        """Timed prefill."""
        begun = time.perf_counter()
        passes = super().prefill(slot, tokens)
        self._took(time.perf_counter() - begun)
        return passes

    def score(self, trees: Sequence[ScoreTree], slots: Sequence[Slot]) -> Scores:
        """Timed pass."""
        begun = time.perf_counter()
        scores = super().score(trees, slots)
        self._took(time.perf_counter() - begun)
        return scores

    def _took(self, seconds: float) -> None:
        self.seconds += seconds
        if self._whole is not None:
            self._whole._took(seconds)


class EngineVariant:
    """laconic under the methods of ``engine``."""

    def __init__(self, name: str, engine: Engine) -> None:
        self.name = name
        self._watch = Stopwatch(engine.draft_model) if engine.draft_model is not None else None
        self._engine = Engine(engine.target, engine.text, engine.methods, self._watch)

    def reports(self) -> dict[str, dict[str, Any]]:
        """What its methods have learned; see Engine.reports."""
        return self._engine.reports()

    def run(self, requests: Sequence[Request], batch: int) -> Run:
        """Answer all requests, ``batch`` at a time."""
        begun = self._watch.seconds if self._watch else 0.0
        results = self._engine.run(requests, batch=batch)
        return Run(results, self._watch.seconds - begun if self._watch else 0.0)


@dataclass(slots=True)
class Trial:
    """One problem under every variant. In batches, ``seconds`` is a problem's equal share of its block's time."""

    item: Item
    block: int
    results: dict[str, Result] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    draft_model_seconds: dict[str, float] = field(default_factory=dict)
    right: dict[str, bool | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """Problems that a variant could not answer. They enter no number."""

    items: tuple[str, ...]
    variant: str
    error: str


@dataclass(slots=True)
class Measured:
    """All trials that every variant finished, and what failed."""

    trials: list[Trial] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    interrupted: bool = False

    def require(self) -> None:
        """Raise TaskError if no problem was answered by every variant; KeyboardInterrupt if none could be."""
        if self.trials:
            return
        if self.interrupted:
            raise KeyboardInterrupt
        first = self.failures[0]
        raise TaskError(f"no problem was answered by every variant; '{first.variant}' says: {first.error}")


def measure(
    variants: Sequence[Variant],
    items: Sequence[Item],
    request: Callable[[str], Request],
    *,
    batch: int = 1,
    after: Callable[[list[Trial], int], Any] = lambda trials, count: None,
) -> Measured:
    """Run every variant on every item; ``request`` turns a question into a request.

    With ``batch`` 1 each problem is a block of its own, otherwise blocks of several batches are timed as a whole.
    The variants run back to back on a block, in an order that rotates. A failure is kept with its message, and its
    block enters no number. ``after`` is told the trials of each block and how many problems it had. Ctrl-C ends the
    run with the blocks that are complete.
    """
    size = 1 if batch == 1 else batch * _BLOCK
    blocks = [items[at : at + size] for at in range(0, len(items), size)]
    measured = Measured()
    try:
        _warm_up(variants, request, batch)
        for turn, block in enumerate(blocks):
            trials = _block(rotation(variants, turn), turn, block, request, batch, measured.failures)
            measured.trials += trials
            after(trials, len(block))
    except KeyboardInterrupt:
        measured.interrupted = True
    return measured


def _warm_up(variants: Sequence[Variant], request: Callable[[str], Request], batch: int) -> None:
    for variant in variants:
        variant.run([request(question) for question in _WARM_UP], batch)


def _block(
    variants: Sequence[Variant],
    turn: int,
    block: Sequence[Item],
    request: Callable[[str], Request],
    batch: int,
    failures: list[Failure],
) -> list[Trial]:
    """One block under every variant; nothing if one of them fails."""
    trials = [Trial(item, turn) for item in block]
    name = "request"
    try:
        requests = [request(item.question) for item in block]
        for variant in variants:
            name = variant.name
            begun = time.perf_counter()
            run = variant.run(requests, batch)
            share = (time.perf_counter() - begun) / len(block)
            for trial, result in zip(trials, run.results, strict=True):
                trial.results[name], trial.seconds[name] = result, share
                trial.draft_model_seconds[name] = run.draft_model_seconds / len(block)
                trial.right[name] = trial.item.judge(result.answer)
    except Exception as error:  # whatever a model, a peer or a grader may raise: reported, and never timed
        failures.append(Failure(tuple(item.id for item in block), name, f"{type(error).__name__}: {error}"))
        return []
    return trials
