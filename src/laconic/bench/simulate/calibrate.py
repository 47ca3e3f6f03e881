"""What rounds cost on this machine, measured as the engine makes them: short runs with stopwatches around the models.

Passes are timed where they happen, because it matters: a target pass among its like finds its weights in a cache,
and the first draft pass of a round, after a target pass, does not.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from laconic.bench.cost import Cell, CostModel, fit
from laconic.bench.simulate import host
from laconic.bench.simulate.calibration import Calibration
from laconic.bench.simulate.costs import Measured
from laconic.bench.simulate.host import Seen
from laconic.bench.simulate.watch import Kind, Log, Watched
from laconic.engine import Engine
from laconic.errors import RequestError
from laconic.models.causal_lm import PREFILL_CHUNK
from laconic.types import Limits, Request

BATCHES = (1, 2, 4, 8, 16, 32)
LENGTHS = ("none", "constant:1", "constant:3", "constant:8", "constant:16", "marginal")
TOKENS = 20
"""Tokens written per request in a run."""
LONG = 320
"""Length of the long prompts, by which the cost of context is found."""
_LONG_LENGTHS = ("none", "constant:3")
_PROMPTS = (8, 32, 128, 320, PREFILL_CHUNK)
"""Lengths at which reading a prompt is timed."""
_SEEN = 2
"""Passes of a kind that make its median count."""


class Calibrator:
    """Collects passes and rounds over any number of sweeps, so that a drift of the machine falls on all it is used for.

    Controllers, shapes and drafters of ``engine`` play no part: its models do.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.target = Watched(engine.target)
        self.draft = Watched(engine.draft_model) if engine.draft_model is not None else None
        self.seen: list[Seen] = []
        self.joins: list[float] = []
        self._text: list[int] = []

    def sweep(
        self,
        requests: Sequence[Request],
        *,
        batches: Sequence[int] = BATCHES,
        lengths: Sequence[str] = LENGTHS,
        tokens: int = TOKENS,
        after: Callable[[str], Any] = lambda said: None,
    ) -> None:
        """Serve ``requests`` for ``tokens`` tokens each, at several batches and draft lengths.

        Every batch is run with the prompts as they are, and at some lengths with prompts of ``LONG`` tokens. What does
        not fit the model's context is left out. Raises RequestError without requests.
        """
        if not requests:
            raise RequestError("a calibration needs a request.")
        self._text = [token for request in requests for token in request.prompt]
        for batch in batches:
            for length in lengths if self.draft else lengths[:1]:
                prompts = [requests[i % len(requests)].prompt for i in range(batch)]
                kinds = [prompts, [(prompt * LONG)[:LONG] for prompt in prompts]]
                for given in kinds if length in _LONG_LENGTHS else kinds[:1]:
                    after(f"batch {batch}, {length}")
                    part = [Request(prompt, limits=Limits(tokens, answer_room=0)) for prompt in given]
                    if max(map(len, given)) + tokens < self.engine.target.context:
                        self.seen += _rounds(self, part, length)

    def costs(self) -> Calibration:
        """The fits. Raises RequestError where nothing could be measured."""
        if not self.seen:
            context = self.engine.target.context
            raise RequestError(f"the model's context of {context} tokens has no room for a calibration.")
        target = Measured(_fit(self.target.first), _prompts(self.target, self._text))
        drafts = None
        if self.draft is not None:
            drafts = Measured(_fit(self.draft.first), _prompts(self.draft, self._text), _fit(self.draft.later))
        return Calibration(target, drafts, host.fit(self.seen, self.joins))


def calibrate(engine: Engine, requests: Sequence[Request], **options: Any) -> Calibration:
    """One sweep and its fits; ``options`` are those of :meth:`Calibrator.sweep`."""
    found = Calibrator(engine)
    found.sweep(requests, **options)
    return found.costs()


def _fit(passes: dict[Kind, list[float]]) -> CostModel:
    """A cost model of the medians of passes, one cell a kind."""
    often = {kind: times for kind, times in passes.items() if len(times) >= _SEEN} or passes
    cells = [
        Cell(nodes, context, n, statistics.median(times), 0.0, len(times))
        for (n, nodes, context), times in sorted(often.items())
    ]
    return fit(cells)


def _prompts(model: Watched, text: Sequence[int], rounds: int = 5) -> CostModel:
    """The cost of reading prompts of several lengths, cut from ``text`` over and over."""
    text = list(text) * PREFILL_CHUNK
    cells = []
    for length in _PROMPTS:
        if length < model.context:
            times = []
            for _ in range(rounds):
                slot = model.open()
                begun = time.perf_counter()
                model.prefill(slot, text[:length])
                times.append(time.perf_counter() - begun)
                slot.close()
            cells.append(Cell(length, 0, 1, statistics.median(times), 0.0, rounds))
    return fit(cells)


def _rounds(found: Calibrator, requests: Sequence[Request], length: str) -> list[Seen]:
    """All rounds of one batch but the first, in which prompts are read; the models keep their passes."""
    engine, target, draft = found.engine, found.target, found.draft
    chosen = replace(engine.methods, drafter="none", shape="chain", verifier="match", think=())
    if length != LENGTHS[0]:
        chosen = replace(chosen, drafter="draft-model", length=length)
    run = Engine(target, engine.text, chosen, draft)
    run.pace = log = Log()
    loop = run.loop()
    rounds: list[Seen] = []
    try:
        for request in requests:
            before, begun = target.seconds, time.perf_counter()
            loop.add(request)
            found.joins.append(time.perf_counter() - begun - (target.seconds - before))
        first = True
        while loop.active:
            active = list(loop.active)
            prefills = sum(s.usage.prefill_passes for s in active)
            target.since, before = 0, target.seconds
            drafted = 0.0
            if draft is not None:
                draft.since, drafted = 0, draft.seconds
            loop.step()
            tied = sum(s.usage.prefill_passes for s in active) != prefills
            if not first and not tied:
                counts, guesses = log.counts, sum(len(s.tree.rows) for s in active)
                drafting = counts["draft"] - ((draft.seconds if draft else 0.0) - drafted)
                rest = counts["score"] + counts["rest"] - (target.seconds - before)
                asked = [s for s in active if run.plan.length.judge(s.length_state) is not None]
                questions = sum(len(s.tree.rows) for s in asked)
                rounds.append(Seen(len(active), counts["nodes"], counts["draft_passes"], guesses, questions,
                                   max(drafting, 0.0), max(rest, 0.0)))  # fmt: skip
            first = False
    finally:
        for sequence in list(loop.active):
            loop.cancel(sequence)
    return rounds
