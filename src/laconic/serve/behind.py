"""A model behind another server as a backend: laconic decides about its thoughts from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from laconic.remote.engine import RemoteEngine
from laconic.remote.loop import RemoteLoop
from laconic.serve.elsewhere import Elsewhere
from laconic.serve.fitted import fitted
from laconic.serve.job import Job
from laconic.thinking.base import Controller
from laconic.types import Request

STREAMED = 32
"""Tokens of an answer that are asked for at once where somebody reads it as it comes."""


class Behind(Elsewhere):
    """The server of a RemoteEngine, over connections of this event loop. It stops writing when they are closed."""

    name = "upstream"

    def __init__(self, engine: RemoteEngine, *, places: int = 16, queue: int = 256) -> None:
        super().__init__(engine, places=places, queue=queue)
        self._remote = engine
        self._loops: dict[bool, RemoteLoop] = {}
        self._here: RemoteEngine

    def describe(self) -> Mapping[str, Any]:
        """What is known of the model there. Where the server is, is the operator's business."""
        return {**super().describe(), "model": self._remote.model.model}

    def controllers(self, think: Sequence[str]) -> tuple[Controller, ...]:
        """Controllers that a client names; see Backend."""
        made = super().controllers(think)
        self._remote.check_probabilities(made)
        return made

    async def start(self) -> None:
        """Open connections in this event loop."""
        engine = self._remote
        self._here = RemoteEngine(
            engine.model.again(),
            engine.text,
            context=engine.target.context,
            defaults=engine.defaults,
            **asdict(engine.writer.asking),
        )
        for streams in (True, False):
            self._loops[streams] = self._here.loop()
            self._loops[streams].asking = replace(self._here.writer.asking, answer=STREAMED if streams else 0)

    async def fitted(self, job: Job) -> Request:
        """In a thread, since some controllers ask the model first, and wait for it."""
        return await asyncio.to_thread(fitted, self.engine, job)

    def loop(self, job: Job) -> RemoteLoop:
        """One for all jobs that stream, one for the others."""
        return self._loops[job.streams]

    async def stop(self, grace: float) -> None:
        """Drain, and close the connections."""
        await super().stop(grace)
        await self._here.model.aclose()
        self._remote.close()
