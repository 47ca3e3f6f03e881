"""Models and paces that keep what the loop does with them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from laconic.bench.measure import Stopwatch
from laconic.models.base import LanguageModel, Scores, ScoreTree, Slot
from laconic.speculation.pace import Pace

_BUCKET = 32
"""Contexts are told apart in steps of so many tokens."""
Kind = tuple[int, int, int]
"""Requests, nodes over all of them, and the longest context in steps of ``_BUCKET``."""


class Watched(Stopwatch):
    """A language model that keeps how long its passes took, by kind. ``since`` counts passes since a round began."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__(model)
        self.since = 0
        self.first: dict[Kind, list[float]] = defaultdict(list)
        """Seconds of the first pass in a round."""
        self.later: dict[Kind, list[float]] = defaultdict(list)
        """Seconds of the others."""

    def score(self, trees: Sequence[ScoreTree], slots: Sequence[Slot]) -> Scores:
        """Timed and kept."""
        context = max(slot.length for slot in slots)
        before = self.seconds
        scores = super().score(trees, slots)
        kind = len(trees), sum(map(len, trees)), _BUCKET * round(context / _BUCKET)
        (self.later if self.since else self.first)[kind].append(self.seconds - before)
        self.since += 1
        return scores


class Log(Pace):
    """A Pace that keeps what it is told of the last round."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, Any] = {}

    def record(self, **counts: Any) -> None:
        """Keep and count."""
        self.counts = counts
        super().record(**counts)
