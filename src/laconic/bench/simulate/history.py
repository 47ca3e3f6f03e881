"""What happened on a simulated server: requests, rounds, times."""

from __future__ import annotations

from dataclasses import dataclass, field

from laconic.bench.simulate.jobs import Job


@dataclass(slots=True)
class Served:
    """What became of one request; times in seconds of virtual time. ``rounds`` is (drafted, accepted) of each."""

    job: Job
    arrived: float
    joined: float = 0.0
    first: float | None = None
    """When its first token was there."""
    finished: float | None = None
    written: int = 0
    drafted: int = 0
    accepted: int = 0
    rounds: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Round:
    """One round, or the joining of one request (``requests`` 0): when it began, its seconds by phase, its counts."""

    begun: float
    prefill: float = 0.0
    draft: float = 0.0
    score: float = 0.0
    host: float = 0.0
    requests: int = 0
    waiting: int = 0
    nodes: int = 0
    given: int = 0
    """Nodes that are prompts, scored with the first draft."""
    tokens: int = 0
    accepted: int = 0
    draft_passes: int = 0
    ties: int = 0
    """Passes of their own over a whole text, which decide between tokens that are as good as equally likely."""

    @property
    def ended(self) -> float:
        """When it was over."""
        return self.begun + self.prefill + self.draft + self.score + self.host


@dataclass(slots=True)
class History:
    """Everything that happened: requests in the order of their arrival, rounds in order of time."""

    served: list[Served] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    refused: list[Job] = field(default_factory=list)
    """Requests that can never fit."""
    idle: float = 0.0
    """Seconds without a request."""
