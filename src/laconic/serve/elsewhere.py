"""What backends share whose model writes a piece at a time: a task for each reply, in the server's own event loop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from laconic.engine import Engine, check
from laconic.errors import LaconicError, RemoteError, RequestError
from laconic.kv.base import KV
from laconic.remote.loop import RemoteLoop
from laconic.sequence import Sequence as Reply
from laconic.serve.backend import ENDED, Abilities, Busy, Draining, Load, specs, strangers
from laconic.serve.fair import FairQueue
from laconic.serve.job import Job, Sight, Told
from laconic.serve.shadow import seen
from laconic.thinking.base import Controller
from laconic.types import Request

log = logging.getLogger("laconic.serve")


class Elsewhere:
    """Serves jobs by a RemoteLoop. ``places`` are under way at once, ``queue`` more may wait."""

    name = "elsewhere"
    can = Abilities(logprobs=False, drafts=False, prediction=False, grammar=False, kv=False)

    def __init__(self, engine: Engine, *, places: int, queue: int) -> None:
        self.engine = engine
        self.text, self.context, self.defaults = engine.text, engine.target.context, engine.defaults
        self.standing = engine.plan.controllers
        self.places, self.queue = places, queue
        self._line = FairQueue()
        self._tasks: dict[Job, asyncio.Task[None]] = {}
        self._running: dict[Job, tuple[RemoteLoop, Reply]] = {}
        self._draining = False

    def describe(self) -> Mapping[str, Any]:
        """What the engine says of the model, and how requests share it."""
        said = self.engine.describe()
        methods = {"think": specs(self.standing)}
        return {"backend": self.name, **said, "methods": methods, "places": self.places, "queue": self.queue}

    def controllers(self, think: Sequence[str]) -> tuple[Controller, ...]:
        """Controllers that a client names; see Backend."""
        made = strangers(think)
        check(replace(self.engine.plan, controllers=made), self.text, self.engine.target, None)
        return made

    def keeper(self, spec: str) -> KV:
        """Nobody: the cache is elsewhere. Raises RequestError."""
        raise RequestError(f"the cache is not this server's, so '{spec}' keeps nothing of it.")

    async def start(self) -> None:
        """Get ready."""
        raise NotImplementedError

    async def fitted(self, job: Job) -> Request:
        """The request as its controllers want it."""
        raise NotImplementedError

    def loop(self, job: Job) -> RemoteLoop:
        """The loop that serves a job."""
        raise NotImplementedError

    def refuse(self, request: Request) -> None:
        """Raise RequestError for what cannot be done here."""
        sampling = request.sampling
        if sampling.presence_penalty or sampling.frequency_penalty:
            raise RequestError(
                "presence_penalty and frequency_penalty cannot be kept where the model is asked for a piece of the "
                "text at a time: it would forget what it has counted.",
                "repetition_penalty can.",
            )

    def submit(self, job: Job) -> None:
        """Let a reply be written; see Backend."""
        if self._draining:
            raise Draining("the server is about to end.", "Send the request to another one.")
        self.refuse(job.request)
        if len(self._tasks) >= self.places and len(self._line) >= self.queue:
            raise Busy(f"{self.queue} requests are waiting already.", "Come again in a moment.")
        self._line.push(job)
        self._pump()

    def cancel(self, job: Job) -> None:
        """Nobody waits any more: what is being written is broken off."""
        job.cancelled = True
        if job in self._tasks:
            self._tasks[job].cancel()
        elif job in self._line.waiting():
            self._line.take(job)

    async def conclude(self, job: Job) -> bool:
        """End a thought; see Backend."""
        if job in self._running:
            loop, reply = self._running[job]
            return loop.conclude(reply, ENDED)
        if job.over or job.cancelled or job.request.phase == "answer":
            return False
        job.ending = ENDED
        return True

    def load(self) -> Load:
        """What goes on now."""
        return Load(running=len(self._tasks), waiting=len(self._line), places=self.places)

    def pulse(self) -> Mapping[str, Any]:
        """Nothing is known of passes."""
        return {}

    def watch(self, passed: Callable[[Sequence[int]], None]) -> None:
        """There are no passes to tell of."""

    async def stop(self, grace: float) -> None:
        """Drain; see Backend."""
        self._draining = True
        until = time.monotonic() + grace
        while self._tasks and (left := until - time.monotonic()) > 0:
            await asyncio.wait(list(self._tasks.values()), timeout=left, return_when=asyncio.FIRST_COMPLETED)
        for job in self._line.waiting():
            self._line.take(job)
            job.tell(Told(error=Draining("the server has stopped.", "Send the request to another one.")))
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _pump(self) -> None:
        """Let those begin whose turn it is."""
        while len(self._tasks) < self.places and (job := self._line.next()) is not None:
            self._line.take(job)
            self._line.began(job.key)
            self._tasks[job] = asyncio.ensure_future(self._serve(job))

    async def _serve(self, job: Job) -> None:
        try:
            await self._write(job)
        except LaconicError as error:
            job.tell(Told(error=error))
        except asyncio.CancelledError:
            job.tell(Told(error=Draining("the server has stopped.", "Send the request to another one.")))
        except Exception as error:
            log.exception("a request failed")
            job.tell(Told(error=RemoteError(f"the request failed: {type(error).__name__}.")))
        finally:
            del self._tasks[job]
            self._running.pop(job, None)
            self._line.ended(job.key)
            self._pump()

    async def _write(self, job: Job) -> None:
        request = await self.fitted(job)
        loop = self.loop(job)
        s = loop.add(request)
        self._line.charge(job.key, len(request.prompt))
        self._running[job] = loop, s
        if job.ending:
            loop.conclude(s, job.ending)
        sights = written = 0
        try:
            while not s.done:
                await loop.advance(s)
                self._line.charge(job.key, max(s.generated - written, 0))
                written = s.generated
                if written:
                    job.begun()
                found = tuple(Sight(at, b.answer, b.confidence()) for at, b in s.beliefs[sights:])
                sights = len(s.beliefs)
                result = self.engine.result(s) if s.done else None
                steps = tuple(s.drain()) if job.streams or s.done else ()
                if steps or found or result is not None:
                    parts = s.shown() if steps else None
                    watched = seen(s.controllers) if result is not None and job.shadow else None
                    job.tell(Told(steps, parts, found, 0.0, len(self._running), result, watched))
        finally:
            await loop.aclose(s)
