"""A model behind another server as a backend: laconic decides about its thoughts from outside."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, cast

from laconic.engine import check
from laconic.errors import LaconicError, RemoteError, RequestError
from laconic.policy import registry
from laconic.remote.engine import RemoteEngine
from laconic.remote.loop import RemoteLoop
from laconic.sequence import Sequence as Sequence_
from laconic.serve.backend import Abilities, Busy, Draining, Load
from laconic.serve.fair import FairQueue
from laconic.serve.fitted import fitted
from laconic.serve.job import Job, Sight, Told
from laconic.serve.shadow import seen
from laconic.thinking.base import Controller

log = logging.getLogger("laconic.serve")
STREAMED = 32
"""Tokens of an answer that are asked for at once where somebody reads it as it comes."""


class Behind:
    """The server of a RemoteEngine. ``places`` requests are under way there at once, ``queue`` more may wait here."""

    name = "upstream"
    can = Abilities(logprobs=False, drafts=False, prediction=False, grammar=False)

    def __init__(self, engine: RemoteEngine, *, places: int = 16, queue: int = 256) -> None:
        self.engine = engine
        self.text, self.context, self.defaults = engine.text, engine.target.context, engine.defaults
        self.standing = engine.plan.controllers
        self.places, self.queue = places, queue
        self._line = FairQueue()
        self._tasks: dict[Job, asyncio.Task[None]] = {}
        self._running: dict[Job, Sequence_] = {}
        self._loops: dict[bool, RemoteLoop] = {}
        self._here: RemoteEngine
        self._draining = False

    def describe(self) -> Mapping[str, Any]:
        """The server, and how it is asked."""
        said = self.engine.describe()
        return {
            "backend": self.name,
            "upstream": self.engine.model.url,
            "model": self.engine.model.model,
            **said,
            "methods": {"think": said["methods"]["think"]},
            "places": self.places,
            "queue": self.queue,
        }

    def controllers(self, think: Sequence[str]) -> tuple[Controller, ...]:
        """Controllers that a client names; see Backend."""
        made = tuple(cast(Controller, registry.build("think", spec, files=False)) for spec in think)
        check(replace(self.engine.plan, controllers=made), self.text, self.engine.target, None)
        self.engine.check_probabilities(made)
        return made

    async def start(self) -> None:
        """Open connections in this event loop."""
        engine = self.engine
        asking = {**asdict(engine.writer.asking), "answer": 0}
        context = engine.target.context
        self._here = RemoteEngine(
            engine.model.again(), engine.text, context=context, defaults=engine.defaults, **asking
        )
        for streams in (True, False):
            self._loops[streams] = self._here.loop()
            self._loops[streams].asking = replace(self._here.writer.asking, answer=STREAMED if streams else 0)

    def submit(self, job: Job) -> None:
        """Let a reply be written; see Backend."""
        if self._draining:
            raise Draining("the server is about to end.", "Send the request to another one.")
        sampling = job.request.sampling
        if sampling.presence_penalty or sampling.frequency_penalty:
            raise RequestError(
                "presence_penalty and frequency_penalty cannot be kept over an upstream server, which is asked for a "
                "piece of the text at a time and would forget what it has counted.",
                "repetition_penalty can.",
            )
        if len(self._tasks) >= self.places and len(self._line) >= self.queue:
            raise Busy(f"{self.queue} requests are waiting already.", "Come again in a moment.")
        self._line.push(job)
        self._pump()

    def cancel(self, job: Job) -> None:
        """Nobody waits any more; the upstream server stops when its connection closes."""
        job.cancelled = True
        if job in self._tasks:
            self._tasks[job].cancel()
        elif job in self._line.waiting():
            self._line.take(job)

    async def conclude(self, job: Job) -> bool:
        """End a thought; see Backend."""
        sequence = self._running.get(job)
        loop = self._loops[job.streams]
        return sequence is not None and loop.conclude(sequence, "the client asked for the answer")

    def load(self) -> Load:
        """What goes on now."""
        return Load(running=len(self._tasks), waiting=len(self._line), places=self.places)

    def pulse(self) -> Mapping[str, Any]:
        """Nothing is known of the server's passes."""
        return {}

    def watch(self, passed: Callable[[Sequence[int]], None]) -> None:
        """There are no passes to tell of."""

    async def stop(self, grace: float) -> None:
        """Drain; see Backend."""
        self._draining = True
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=grace)
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._here.model.aclose()
        self.engine.close()

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
        loop = self._loops[job.streams]
        request = await asyncio.to_thread(fitted, self.engine, job)  # some controllers ask the model first
        s = loop.add(request)
        self._running[job] = s
        sights = written = 0
        try:
            while not s.done:
                await loop.advance(s)
                self._line.charge(job.key, max(s.generated - written, 0))
                written = s.generated
                found = tuple(Sight(at, b.answer, b.confidence()) for at, b in s.beliefs[sights:])
                sights = len(s.beliefs)
                result = self._here.result(s) if s.done else None
                steps = tuple(s.drain()) if job.streams or s.done else ()
                if steps or found or result is not None:
                    parts = s.shown() if steps else None
                    watched = seen(s.controllers) if result is not None and job.shadow else None
                    job.tell(Told(steps, parts, found, 0.0, len(self._running), result, watched))
        finally:
            await loop.aclose(s)
