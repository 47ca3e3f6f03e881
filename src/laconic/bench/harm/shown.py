"""The choice on prompts that had no say in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from laconic.bench import record as numbers
from laconic.bench.harm.judge import Answer, harmed
from laconic.bench.measure import EngineVariant, Trial, measure
from laconic.bench.tasks import Item
from laconic.config import Kind
from laconic.engine import Engine
from laconic.intervals import wilson
from laconic.types import Request


def show(
    free: Engine,
    promised: Engine,
    items: Sequence[Item],
    request: Callable[[str], Request],
    kind: Kind,
    told: Callable[[int, int], Any],
) -> dict[str, Any] | None:
    """Both engines interleaved on ``items``: harm and saving, with intervals. None if no problem could be measured.

    ``told`` hears of problems done and of all.
    """
    done = 0

    def after(trials: list[Trial], count: int) -> None:
        nonlocal done
        done += count
        told(done, len(items))

    measured = measure([EngineVariant("free", free), EngineVariant("promised", promised)], items, request, after=after)
    trials = measured.trials
    if not trials:
        return None
    found = [trial.item.id for trial in trials if harmed(kind, _answer(trial, "free"), _answer(trial, "promised"))]
    return {
        "n": len(trials),
        "harms": len(found),
        "harm_ci": wilson(len(found), len(trials)),
        "harmed": found,
        "ratio": numbers.ratio(trials, "promised", "free"),
        "free": numbers.summary(trials, "free"),
        "promised": numbers.summary(trials, "promised"),
        "failures": [asdict(failure) for failure in measured.failures],
        "interrupted": measured.interrupted,
    }


def _answer(trial: Trial, name: str) -> Answer:
    return Answer.of(trial.item, trial.results[name])
