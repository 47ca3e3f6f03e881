"""Timing passes of a model: many kinds of pass, interleaved, until their medians can be trusted or the time is up."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from laconic.bench.cost.model import Cell
from laconic.bench.stats import rotation
from laconic.errors import RequestError
from laconic.models.base import LanguageModel, ScoreTree, Slot, chain

TOKENS = (1, 2, 4, 8, 16, 32, 64)
CONTEXTS = (32, 256, 1024)
REQUESTS = (1, 4)


@dataclass(slots=True)
class _Trial:
    """One kind of pass, ready to be made again and again: nothing is ever committed."""

    tokens: int
    context: int
    trees: list[ScoreTree]
    slots: list[Slot]
    seconds: list[float] = field(default_factory=list)

    def cell(self) -> Cell:
        median = statistics.median(self.seconds)
        low, _, high = statistics.quantiles(self.seconds, n=4) if len(self.seconds) > 1 else (median,) * 3
        return Cell(self.tokens, self.context, len(self.slots), median, (high - low) / 2 / median, len(self.seconds))


def measure(
    model: LanguageModel,
    *,
    tokens: Sequence[int] = TOKENS,
    contexts: Sequence[int] = CONTEXTS,
    requests: Sequence[int] = REQUESTS,
    budget: float = 5.0,
    rounds: tuple[int, int] = (3, 25),
    clock: Callable[[], float] = time.perf_counter,
) -> list[Cell]:
    """Median pass times over a grid of token counts, contexts and numbers of requests.

    ``tokens`` count over all requests, who share them evenly; kinds that do not divide, or exceed the model's context,
    are left out. Every round makes each kind of pass once, starting at another one each time, so that a drift of the
    machine falls on all alike. After one round of warming up, rounds go on for ``budget`` seconds, at least
    ``rounds[0]`` and at most ``rounds[1]``. Scoring checks the logits, which waits for the device, so no further
    synchronisation is needed. Raises RequestError if nothing of the grid fits.
    """
    trials, slots = _prepare(model, tokens, contexts, requests)
    try:
        for trial in trials:  # the first pass of a size allocates
            model.score(trial.trees, trial.slots)
        begun = time.perf_counter()
        for turn in range(rounds[1]):
            if turn >= rounds[0] and time.perf_counter() - begun > budget:
                break
            for trial in rotation(trials, turn):
                start = clock()
                model.score(trial.trees, trial.slots)
                trial.seconds.append(clock() - start)
    finally:
        for slot in slots:
            slot.close()
    return [trial.cell() for trial in trials]


def _prepare(
    model: LanguageModel, tokens: Sequence[int], contexts: Sequence[int], requests: Sequence[int]
) -> tuple[list[_Trial], list[Slot]]:
    """All kinds of pass that fit the model, and the slots they use."""
    if any(n < 1 for n in (*tokens, *requests)) or any(c < 0 for c in contexts):
        raise RequestError("a pass has at least one token and one request, and no negative context.")
    trials: list[_Trial] = []
    slots: list[Slot] = []
    for context in sorted(contexts):
        kinds = [(r, n) for r in requests for n in tokens if n % r == 0 and context + n // r <= model.context]
        if not kinds:
            continue
        # Slots of one context lie side by side, as those of a running batch do; any request of a kind takes the first.
        own = [model.open()]
        model.prefill(own[0], [_token(model, i) for i in range(context)])
        own += [own[0].fork() for _ in range(max(r for r, _ in kinds) - 1)]
        slots += own
        for r, n in kinds:
            tree = chain([_token(model, context + i) for i in range(n // r)])
            trials.append(_Trial(n, context, [tree] * r, own[:r]))
    if not trials:
        raise RequestError(f"the model's context of {model.context} tokens holds none of the passes to measure.")
    return trials, slots


def _token(model: LanguageModel, i: int) -> int:
    """Any token will do, as no weight is skipped for it; a mixture of experts is served better by varied ones."""
    return (7919 * i + 13) % model.vocab_size
