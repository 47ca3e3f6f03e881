"""The thread that owns laconic's engine: it admits requests, reads prompts in pieces, makes passes and tells of them.

Nothing else touches the model. What others want of it comes through an inbox that is read between passes; what it has
to tell goes to the event loop once a pass.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from laconic.engine import Engine
from laconic.errors import LaconicError, ModelError, RequestError
from laconic.sequence import Sequence
from laconic.serve.backend import ENDED, Draining, Load
from laconic.serve.fair import FairQueue
from laconic.serve.fitted import fitted
from laconic.serve.job import Job, Sight, Told
from laconic.serve.memory import Extent, Memory
from laconic.serve.prefixes import Prefixes
from laconic.serve.shadow import seen

log = logging.getLogger("laconic.serve")
CHUNK = 256
"""Tokens of a prompt that are read between two passes of other requests."""
_IDLE_CHUNK = 4 * CHUNK
"""The same where nobody else waits for a pass."""


class EngineFailure(ModelError):
    """A pass that failed: the requests in it are lost, later ones are served by a fresh loop."""


@dataclass
class Pulse:
    """What the passes have cost and given since the start."""

    passes: int = 0
    seconds: float = 0.0
    tokens: int = 0
    drafted: int = 0
    accepted: int = 0
    together: int = 0
    """Requests of all passes."""
    paused: int = 0
    """How often a request had to wait for memory after it had begun."""
    abandoned: int = 0
    """Tokens of requests whose clients went before the end."""
    lengths: list[int] = field(default_factory=list)
    """Draft lengths of the last pass."""


@dataclass(eq=False)
class _Run:
    """A job that has begun."""

    job: Job
    sequence: Sequence
    sights: int = 0


class Runner:
    """Serves jobs until it is stopped. ``most`` requests run at once, as far as ``memory`` allows."""

    def __init__(
        self, engine: Engine, memory: Memory, prefixes: Prefixes, *, most: int, told: Callable[[Pulse], None]
    ) -> None:
        self.engine = engine
        self.memory = memory
        self.prefixes = prefixes
        self.most = most
        self.pulse = Pulse()
        self._told = told
        self._loop = engine.loop()
        self._loop.leaving = self._keep
        self._line = FairQueue()
        self._arriving: list[_Run] = []
        self._paused: list[_Run] = []
        """Those that wait for memory, the first to go on last."""
        self._running: dict[int, _Run] = {}
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="laconic-engine", daemon=True)
        self._stopping = False
        self._turns = 0
        self._listener: asyncio.AbstractEventLoop
        self._mail: list[tuple[Job, Told]] = []

    def start(self, listener: asyncio.AbstractEventLoop) -> None:
        """Begin to serve; news go to jobs in the event loop ``listener``."""
        self._listener = listener
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Let a job wait for its turn."""
        self._inbox.put(lambda: self._line.push(job))

    def cancel(self, job: Job) -> None:
        """Nobody waits for this job any more."""
        job.cancelled = True
        self._inbox.put(lambda: self._drop(job))

    def conclude(self, job: Job, done: Callable[[bool], None]) -> None:
        """End a job's thought; ``done`` is told, in the engine's thread, whether there was one."""

        def end() -> None:
            found = False
            try:
                found = self._concluded(job)
            finally:
                done(found)

        self._inbox.put(end)

    def stop(self) -> None:
        """End the thread after the pass under way; what runs is cancelled. Waits for it."""

        def end() -> None:
            self._stopping = True

        self._inbox.put(end)
        if self._thread.is_alive():
            self._thread.join()

    @property
    def load(self) -> Load:
        """What goes on. Read without a lock: each number is right, though not all of the same moment."""
        return Load(
            running=len(self._running) + len(self._arriving) + len(self._paused),
            waiting=len(self._line),
            places=self.most,
            kept=self.prefixes.nbytes,
            nbytes=self.memory.wanted(self._extents()),
            budget=self.memory.most,
        )

    def _serve(self) -> None:
        while not self._stopping:
            try:
                self._listen()
                self._turn()
            except (
                BaseException
            ) as error:  # what panics in a library of Rust's is no Exception, and nobody else would hear
                log.exception("a pass failed; the requests in it are ended")
                self._failed(error)
            self._post()
        self._failed(Draining("the server has stopped.", "Send the request to another one."))
        self._post()

    def _listen(self) -> None:
        """Do what came in meanwhile; wait for something to come where there is nothing else to do."""
        wait = not (self._running or self._arriving or self._paused or len(self._line))
        while True:
            try:
                command = self._inbox.get(block=wait)
            except queue.Empty:
                return
            command()
            wait = False

    def _turn(self) -> None:
        """Admit, read a piece of a prompt, make a pass, tell."""
        self._make_room()
        self._admit()
        self._read()
        if not self._running:
            return
        begun, together = time.perf_counter(), len(self._running)
        before = {id(run): self._counts(run) for run in self._running.values()}
        gone = self._loop.step()
        seconds = time.perf_counter() - begun
        runs = list(self._running.values())
        for s in gone:
            del self._running[id(s)]
        self._tell(runs, seconds, together)
        self._count(runs, before, seconds)

    def _extents(self) -> list[Extent]:
        """Tokens of all requests that have a cache."""
        return [_extent(run) for run in (*self._running.values(), *self._arriving)]

    def _make_room(self) -> None:
        """Pause the latest requests where the others would outgrow the memory, and let them go on once they fit."""
        while self._running and not self.memory.fits(self._extents()):
            if self._arriving:  # it has done least
                run = self._arriving.pop()
                self._loop.take_cache(run.sequence)
            else:
                run = self._running.pop(next(reversed(self._running)))
                self._loop.pause(run.sequence)
            self.pulse.paused += 1
            self._paused.append(run)
        while self._paused and self.memory.fits([*self._extents(), _extent(self._paused[-1])]):
            run = self._paused.pop()
            self._loop.unpause(run.sequence)
            self._arriving.append(run)

    def _admit(self) -> None:
        """Let requests begin, in their owners' turns, as long as there is a place and memory for the next."""
        if self._paused:
            return
        while len(self._running) + len(self._arriving) < self.most:
            job = self._line.next()
            if job is None:
                return
            limit = job.request.limits.max_new_tokens
            if not self.memory.fits([*self._extents(), Extent(len(job.request.prompt), 0, limit)]):
                return
            self._line.take(job)
            self._line.began(job.key)
            try:
                self._begin(job)
            except LaconicError as error:
                self._end(job, Told(error=error))
            except BaseException as error:
                log.exception("a request could not begin")
                self._end(job, Told(error=EngineFailure(f"the request could not begin: {type(error).__name__}.")))

    def _begin(self, job: Job) -> None:
        request = fitted(self.engine, job)
        slot = self.prefixes.resume(job.key, request.prompt)
        reused = 0 if slot is None else slot.length
        sequence = self._loop.arrive(request, slot)
        reused = min(reused, sequence.slot.length)  # a kv policy may have to see the last of it itself
        sequence.usage.reused = reused
        if job.ending:
            self._loop.conclude(sequence, job.ending)
        self._line.charge(job.key, len(request.prompt) - reused)
        self._arriving.append(_Run(job, sequence))

    def _read(self) -> None:
        """Read some of the prompts that have arrived, so many tokens in all; short ones join without being read.

        In turn it is the oldest prompt's and the one's that has least left, so that none starves.
        """
        left = CHUNK if self._running else _IDLE_CHUNK
        while self._arriving and left > 0:
            self._turns += 1
            run = self._arriving[0] if self._turns % 2 else min(self._arriving, key=_left)
            before = run.sequence.slot.length
            try:
                joined = self._loop.read(run.sequence, left)
            except BaseException:
                self._arriving.remove(run)
                self._loop.abandon(run.sequence)
                self._end(run.job, Told(error=EngineFailure("the prompt could not be read.")))
                raise
            left -= run.sequence.slot.length - before
            if joined:
                self._arriving.remove(run)
                self._running[id(run.sequence)] = run

    def _tell(self, runs: list[_Run], seconds: float, together: int) -> None:
        """Put down what there is to tell of each; one of which it cannot be told ends alone."""
        for run in runs:
            try:
                told = self._news(run, seconds, together)
            except Exception as error:
                log.exception("a request cannot be told of")
                if self._running.pop(id(run.sequence), None) is not None:
                    self._loop.cancel(run.sequence)
                told = Told(error=EngineFailure(f"the reply cannot be told: {type(error).__name__}."))
            if told is None:
                continue
            self._mail.append((run.job, told))
            if told.last:
                self._line.ended(run.job.key)

    def _news(self, run: _Run, seconds: float, together: int) -> Told | None:
        """What is new of a request after a pass; None for nothing that its client wants to know."""
        s, job = run.sequence, run.job
        result = self.engine.result(s) if s.done else None
        if s.generated:
            job.begun()
        if result is None and not job.streams:
            return None
        if result is not None and result.finish_reason == "cancelled":  # by the loop: its grammar asked for too much
            return Told(error=RequestError(result.events[-1].reason))
        steps = tuple(s.drain())
        sights = tuple(Sight(at, belief.answer, belief.confidence()) for at, belief in s.beliefs[run.sights :])
        run.sights = len(s.beliefs)
        if not (steps or sights or result is not None):
            return None
        parts = s.shown() if steps else None
        watched = seen(s.controllers) if result is not None and job.shadow else None
        return Told(steps, parts, sights, seconds, together, result, watched, passes=s.usage.target_passes)

    def _count(self, runs: list[_Run], before: dict[int, tuple[int, int, int]], seconds: float) -> None:
        pulse = self.pulse
        pulse.passes += 1
        pulse.seconds += seconds
        pulse.together += len(runs)
        pulse.lengths = []
        for run in runs:
            written, drafted, accepted = self._counts(run)
            was = before[id(run)]
            pulse.tokens += max(written - was[0], 0)
            pulse.drafted += drafted - was[1]
            pulse.accepted += accepted - was[2]
            pulse.lengths.append(drafted - was[1])
            self._line.charge(run.job.key, max(written - was[0], 1))
        self._told(pulse)

    @staticmethod
    def _counts(run: _Run) -> tuple[int, int, int]:
        usage = run.sequence.usage
        return run.sequence.generated, usage.drafted, usage.accepted

    def _keep(self, s: Sequence) -> None:
        """Keep what a request that leaves has computed, for others that begin alike."""
        run = self._running.get(id(s))
        if run is None or any(controller.steering(state) for controller, state in s.controllers):
            return
        try:
            self.prefixes.keep(run.job.key, s.tokens, s.slot)
        except Exception:  # mostly no memory for a copy, which is no reason to lose a reply that is written
            log.exception("what a request has computed is not kept for later ones")

    def _concluded(self, job: Job) -> bool:
        runs = (*self._running.values(), *self._arriving, *self._paused)
        run = next((run for run in runs if run.job is job), None)
        if run is not None:
            return self._loop.conclude(run.sequence, ENDED)
        if job not in self._line.waiting() or job.request.phase == "answer":
            return False
        job.ending = ENDED
        return True

    def _drop(self, job: Job) -> None:
        """A request whose client has gone: it takes part in no further pass."""
        if job in self._line.waiting():
            self._line.take(job)
            return
        for run in [run for run in (*self._running.values(), *self._arriving, *self._paused) if run.job is job]:
            self.pulse.abandoned += run.sequence.generated
            if id(run.sequence) in self._running:
                self._loop.cancel(run.sequence)
                del self._running[id(run.sequence)]
            else:
                (self._paused if run in self._paused else self._arriving).remove(run)
                self._loop.abandon(run.sequence)
            self._line.ended(job.key)

    def _end(self, job: Job, told: Told) -> None:
        self._line.ended(job.key)
        self._mail.append((job, told))

    def _failed(self, error: BaseException) -> None:
        """End everything under way with an error, and go on with a fresh loop."""
        shown = (
            error if isinstance(error, LaconicError) else EngineFailure(f"the engine failed: {type(error).__name__}.")
        )
        for run in (*self._running.values(), *self._arriving, *self._paused):
            try:
                self._loop.abandon(run.sequence)
            except Exception:
                log.exception("a slot could not be closed")
            self._end(run.job, Told(error=shown))
        if self._stopping:
            self._mail += [(job, Told(error=shown)) for job in self._line.waiting()]
        self._running.clear()
        self._arriving.clear()
        self._paused.clear()
        self._loop = self.engine.loop()
        self._loop.leaving = self._keep

    def _post(self) -> None:
        """Send what there is to tell to the event loop, all at once."""
        mail, self._mail = self._mail, []
        if mail and not self._listener.is_closed():
            self._listener.call_soon_threadsafe(_deliver, mail)


def _deliver(mail: list[tuple[Job, Told]]) -> None:
    for job, told in mail:
        job.tell(told)


def _left(run: _Run) -> int:
    return len(run.sequence.tokens) - run.sequence.slot.length


def _extent(run: _Run) -> Extent:
    s = run.sequence
    return Extent(s.context.prompt_length, s.generated, s.request.limits.max_new_tokens)
