"""Who is next: requests wait in line by their owner, and owners take turns by what they have used."""

from __future__ import annotations

from collections import deque

from laconic.serve.job import Job


class FairQueue:
    """Requests that wait. Of the owners with any, the one that has used least comes next, with its oldest request.

    Use is counted in tokens, as it happens (:meth:`charge`). An owner that comes back after a while starts at the use
    of the least served of those who wait or run, so that nobody saves up turns. Source: virtual time of fair queueing,
    as in VTC (Sheng et al. 2024, "Fairness in Serving Large Language Models"), with one weight for prompts and replies.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Job]] = {}
        self._used: dict[str, float] = {}
        self._running: dict[str, int] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def push(self, job: Job) -> None:
        """Let a request wait."""
        if job.key not in self._waiting and not self._running.get(job.key):
            present = [self._used.get(key, 0.0) for key in {*self._waiting, *self._running}]
            self._used[job.key] = max(self._used.get(job.key, 0.0), min(present, default=0.0))
        self._waiting.setdefault(job.key, deque()).append(job)

    def next(self) -> Job | None:
        """The request whose turn it is; it goes on waiting."""
        if not self._waiting:
            return None
        key = min(self._waiting, key=lambda key: (self._used.get(key, 0.0), self._waiting[key][0].received))
        return self._waiting[key][0]

    def take(self, job: Job) -> None:
        """Let a request begin, or leave the line."""
        line = self._waiting[job.key]
        line.remove(job)
        if not line:
            del self._waiting[job.key]

    def began(self, key: str) -> None:
        """A request of this owner runs."""
        self._running[key] = self._running.get(key, 0) + 1

    def ended(self, key: str) -> None:
        """It does so no longer. An owner of whom nothing is left is forgotten, once others have caught up."""
        self._running[key] -= 1
        if not self._running[key]:
            del self._running[key]
        present = {*self._waiting, *self._running}
        least = min((self._used.get(key, 0.0) for key in present), default=float("inf"))
        self._used = {key: used for key, used in self._used.items() if key in present or used > least}

    def charge(self, key: str, tokens: float) -> None:
        """Count what an owner's request has used."""
        self._used[key] = self._used.get(key, 0.0) + tokens

    def waiting(self) -> list[Job]:
        """All that wait, owner by owner."""
        return [job for line in self._waiting.values() for job in line]
