"""``fit effort``: how long a model thinks about some problems when nobody stops it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from laconic.bench.provenance import provenance
from laconic.engine import Engine
from laconic.errors import TaskError, UnmetNeed
from laconic.thinking.budget.lengths import PERCENTS, Lengths, fingerprint
from laconic.types import Request


def free_lengths(
    engine: Engine,
    requests: Sequence[Request],
    model: str,
    *,
    batch: int = 8,
    after: Callable[[str], Any] = lambda said: None,
    run: dict[str, Any] | None = None,
) -> Lengths:
    """Let ``engine``'s model think about ``requests`` without any controller, and measure its thoughts.

    ``model`` is its name and ``run`` what a reader should know of the requests; ``after`` is told what has been done.
    Raises UnmetNeed for a model without a thinking phase, TaskError where it thought about none of the problems.
    """
    form = engine.text.format
    if not form.thinks:
        raise UnmetNeed("this model has no thinking phase; no thinking tags were found.", "Name a model that thinks.")
    free = engine.using(think=())
    thoughts: list[int] = []
    unfinished = 0
    for start in range(0, len(requests), batch):
        for result in free.run(requests[start : start + batch], batch=batch):
            thoughts.append(result.usage.thinking)
            unfinished += result.finish_reason == "length" and form.closes not in result.text
        after(f"{len(thoughts)} of {len(requests)} thoughts")
    if not any(thoughts):
        raise TaskError(f"the model thought about none of {len(requests)} problems.", "Ask others, or another model.")
    return Lengths(
        model=model,
        fingerprint=fingerprint(engine.target),
        n=len(thoughts),
        unfinished=unfinished,
        mean=round(sum(thoughts) / len(thoughts), 1),
        quantiles={str(percent): quantile(thoughts, percent) for percent in PERCENTS},
        run=run or {},
        provenance=provenance(),
    )


def quantile(lengths: Sequence[int], percent: int) -> int:
    """The least of ``lengths`` that is enough for so many percent of them, and at least 1."""
    ordered = sorted(lengths)
    return max(ordered[math.ceil(percent / 100 * len(ordered)) - 1], 1)
