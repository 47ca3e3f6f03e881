"""What ending thoughts early costs, measured while serving: some thoughts are left to their end and compared.

A watched request thinks as long as it likes; where the server's controllers would have ended its thought, the answer
there is compared with the one at the end. The share that differs is the harm that acting would have done, or more:
an answer that changes may have been wrong before.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from laconic.answers import stated
from laconic.equality import same
from laconic.intervals import wilson
from laconic.serve.job import Seen
from laconic.types import Result

_FEWEST = 30
"""Comparisons before which nothing is concluded from them."""


@dataclass
class Audit:
    """``share`` of requests are watched, all of them with ``shadow``. Above ``harm`` the server stops acting.

    It does so where even the lower end of the 95 % interval of changed answers is above; then all are watched, and it
    acts again once the upper end is below.
    """

    share: float = 0.0
    harm: float = 0.05
    shadow: bool = False
    watched: int = 0
    """Requests that were watched to their end."""
    ended: int = 0
    """Of those, such whose thought would have been ended early."""
    compared: int = 0
    """Of those, such whose two answers could be compared."""
    changed: int = 0
    """Of those, such that differ."""
    spent: int = 0
    """Thinking tokens of those that would have been ended early."""
    kept: int = 0
    """Thinking tokens of theirs up to where they would have been ended."""
    stopped: bool = False
    """Whether the server has stopped acting on its own account."""
    _dice: random.Random = field(default_factory=random.Random)

    def watches(self) -> bool:
        """Whether the next request is watched and not acted on."""
        return self.shadow or self.stopped or self._dice.random() < self.share

    def heard(self, seen: Seen | None, result: Result) -> bool | None:
        """Count a watched request that has ended; whether acting would have changed its answer, where that is known."""
        if result.finish_reason != "stop":
            return None
        self.watched += 1
        if seen is None:
            return None
        self.ended += 1
        self.spent += result.usage.thinking
        self.kept += seen.thinking
        final = stated(result.answer)
        if not seen.answer or not final:
            return None
        self.compared += 1
        changed = not same(final, seen.answer)
        self.changed += changed
        self._judge()
        return changed

    def _judge(self) -> None:
        low, high = self.interval
        if self.compared >= _FEWEST:
            self.stopped = low > self.harm or (self.stopped and high > self.harm)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the share of answers that acting would have changed (Wilson)."""
        return wilson(self.changed, self.compared)

    @property
    def saved(self) -> float | None:
        """Share of the thinking tokens that acting saves, where it acts; None before anything is known."""
        return 1 - self.kept / self.spent if self.spent else None

    def describe(self) -> dict[str, Any]:
        """Everything that is known, ready for JSON."""
        low, high = self.interval
        return {
            "mode": "shadow" if self.shadow else "stopped" if self.stopped else "acting",
            "share": self.share, "limit": self.harm, "watched": self.watched, "ended": self.ended,
            "compared": self.compared, "changed": self.changed,
            "harm": self.changed / self.compared if self.compared else None, "low": low, "high": high,
            "saved": self.saved,
        }  # fmt: skip
