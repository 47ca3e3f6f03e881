"""Who makes passes: workers of which each does one job at a time, or a pipeline that takes several in."""

from __future__ import annotations

import heapq
import itertools
import queue
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from laconic.bench.overlap.state import Tail


@dataclass(eq=False, slots=True)
class Job:
    """A pass for the text ``text``. A draft pass extends its ``hypotheses``; a check says what the target would write
    behind each hypothesis on the way from ``begin`` to the one of its ``hypotheses``.
    """

    kind: str
    request: int
    text: tuple[int, ...]
    hypotheses: tuple[Tail, ...]
    begin: Tail = ()
    early: bool = False
    """Of a check: this is its signal from the middle, not its end."""
    result: Any = None
    worker: int = -1
    cancelled: bool = False


Work = Mapping[str, Callable[[Job, int], Any]]
"""By kind of job: what a worker, by its number, makes of it."""


class Lanes(Protocol):
    """All workers and their clock."""

    now: float
    """Seconds since the beginning."""
    busy: dict[str, float]
    """Seconds that workers of each kind have worked, all together."""

    @property
    def going(self) -> bool:
        """Whether any worker is at work, be it on a job that was cancelled."""
        ...

    def idle(self, kind: str) -> bool:
        """Whether a worker of this kind can take a job."""
        ...

    def submit(self, job: Job) -> None:
        """Give it to one that can."""
        ...

    def cancel(self, job: Job) -> None:
        """Its result is not wanted any more."""
        ...

    def wait(self) -> Job:
        """The next job that is done, its ``result`` there; one of kind ``free`` in place of one that was cancelled."""
        ...


@dataclass(slots=True)
class Virtual:
    """Workers in virtual time. ``seconds[kind]`` a job takes; there are ``workers[kind]``.

    A worker of ``stages[kind]`` stages is a pipeline: it takes a job in as soon as its first stage is free. With
    ``drops`` a cancelled job ends at once; else its worker goes on to its end. At the share ``early`` of its time a
    check gives a signal, if that is not 0.
    """

    seconds: Mapping[str, float]
    work: Work
    workers: Mapping[str, int] = field(default_factory=dict)
    stages: Mapping[str, int] = field(default_factory=dict)
    drops: bool = True
    early: float = 0.0
    now: float = 0.0
    busy: dict[str, float] = field(default_factory=dict)
    _free: dict[str, list[float]] = field(default_factory=dict)
    _done: list[tuple[float, bool, int, Job]] = field(default_factory=list)
    """Ends of jobs in order; of those at the same time drafts first, so that a check that ends then finds them."""
    _last: dict[tuple[str, int], Job] = field(default_factory=dict)
    """The job that each worker, or its first stage, has taken in last."""
    _count: Any = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        for kind in self.seconds:
            self._free[kind] = [0.0] * self.workers.get(kind, 1)
            self.busy[kind] = 0.0

    def idle(self, kind: str) -> bool:
        """See Lanes."""
        return min(self._free[kind]) <= self.now

    def submit(self, job: Job) -> None:
        """See Lanes."""
        free = self._free[job.kind]
        job.worker = min(range(len(free)), key=free.__getitem__)
        self._last[job.kind, job.worker] = job
        takes = self.seconds[job.kind]
        free[job.worker] = self.now + takes / self.stages.get(job.kind, 1)
        self.busy[job.kind] += takes / self.stages.get(job.kind, 1)
        heapq.heappush(self._done, (self.now + takes, job.kind == "check", next(self._count), job))
        if self.early and job.kind == "check":
            signal = Job("check", job.request, job.text, job.hypotheses, job.begin, early=True)
            heapq.heappush(self._done, (self.now + self.early * takes, False, next(self._count), signal))

    def cancel(self, job: Job) -> None:
        """See Lanes."""
        job.cancelled = True
        if self.drops and self._last.get((job.kind, job.worker)) is job:
            self.busy[job.kind] -= max(self._free[job.kind][job.worker] - self.now, 0.0)
            self._free[job.kind][job.worker] = self.now

    def wait(self) -> Job:
        """See Lanes."""
        while True:
            end, _, _, job = heapq.heappop(self._done)
            if job.cancelled and self.drops:
                continue
            self.now = end
            if job.cancelled:
                return Job("free", job.request, (), ())
            job.result = self.work["signal" if job.early else job.kind](job, job.worker)
            return job

    @property
    def going(self) -> bool:
        """See Lanes."""
        return bool(self._done)


class Threads:
    """Workers in threads of their own, in real time; a cancelled job is made to its end, and forgotten."""

    def __init__(self, work: Work, workers: Mapping[str, int]) -> None:
        self._work = work
        self._begun = time.perf_counter()
        self._pools = {kind: [ThreadPoolExecutor(1, kind) for _ in range(count)] for kind, count in workers.items()}
        self._working: dict[str, list[Job | None]] = {kind: [None] * count for kind, count in workers.items()}
        self._done: queue.Queue[tuple[Job, BaseException | None, float]] = queue.Queue()
        self.busy = dict.fromkeys(workers, 0.0)

    @property
    def now(self) -> float:
        """See Lanes."""
        return time.perf_counter() - self._begun

    @property
    def going(self) -> bool:
        """See Lanes."""
        return any(job is not None for working in self._working.values() for job in working)

    def idle(self, kind: str) -> bool:
        """See Lanes."""
        return any(job is None for job in self._working[kind])

    def submit(self, job: Job) -> None:
        """See Lanes."""
        working = self._working[job.kind]
        job.worker = working.index(None)
        working[job.worker] = job

        def run() -> None:
            begun, error = time.perf_counter(), None
            try:
                job.result = self._work[job.kind](job, job.worker)
            except BaseException as caught:  # raised again where the result is waited for
                error = caught
            self._done.put((job, error, time.perf_counter() - begun))

        self._pools[job.kind][job.worker].submit(run)

    def cancel(self, job: Job) -> None:
        """See Lanes."""
        job.cancelled = True

    def wait(self) -> Job:
        """See Lanes. Raises what the job has raised."""
        job, error, seconds = self._done.get()
        self._working[job.kind][job.worker] = None
        self.busy[job.kind] += seconds
        if error is not None:
            raise error
        # Where it was cancelled a worker has become free, and nothing else has happened: there may be a job for it.
        return Job("free", job.request, (), ()) if job.cancelled else job

    def close(self) -> None:
        """Wait for the workers, and let them go."""
        for pools in self._pools.values():
            for pool in pools:
                pool.shutdown()
