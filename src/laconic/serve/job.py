"""One reply that a client waits for, on its way between the web server's event loop and whoever runs the model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from laconic.errors import LaconicError
from laconic.thinking.base import Controller
from laconic.transcript import Parts
from laconic.types import Request, Result, Step


@dataclass(frozen=True, slots=True)
class Sight:
    """What a probe has found after so many thinking tokens: an answer, and how sure the model was of it (0 to 1)."""

    thinking: int
    answer: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Seen:
    """Where a thought would have ended (thinking tokens), why, and what would have been answered there."""

    thinking: int
    reason: str
    answer: str


@dataclass(frozen=True, slots=True)
class Told:
    """News of a reply: what a pass has added, or its end. ``parts`` is all that has been told so far, taken apart.

    ``seconds`` is the time of the pass, ``together`` how many requests shared it, ``passes`` how many target passes the
    reply has taken so far (0 where nobody knows): not every pass has news. ``result`` comes last, as ``error`` does;
    ``seen`` is what controllers that only watch would have done.
    """

    steps: tuple[Step, ...] = ()
    parts: Parts | None = None
    sights: tuple[Sight, ...] = ()
    seconds: float = 0.0
    together: int = 1
    result: Result | None = None
    seen: Seen | None = None
    error: LaconicError | None = None
    passes: int = 0

    @property
    def last(self) -> bool:
        """Whether nothing comes after this."""
        return self.result is not None or self.error is not None


@dataclass(eq=False)
class Job:
    """A reply to be written. ``key`` is whose it is: the name under which work is shared fairly and texts are kept.

    ``controllers`` are asked what becomes of the question when its turn comes; None for the server's own, ``shadow``
    for such that only watch. ``first`` come before them and act in any case: the request's own budget, or its level of
    effort. ``streams`` False is told of nothing but the end.
    """

    id: str
    key: str
    request: Request
    controllers: tuple[Controller, ...] | None = None
    first: tuple[Controller, ...] = ()
    shadow: bool = False
    streams: bool = True
    notes: list[str] = field(default_factory=list)
    """What could not be done as asked, in words for the client."""
    received: float = field(default_factory=time.perf_counter)
    started: float | None = None
    """When its first tokens came."""
    cancelled: bool = False
    ending: str = ""
    """Why its thought shall end as soon as there is one; empty where nobody wants that, or somebody has seen to it."""
    over: bool = False
    """Whether its last news have come."""
    _news: asyncio.Queue[Told] = field(default_factory=asyncio.Queue)

    def begun(self) -> None:
        """Its first tokens have come, whether or not anybody is told of them yet. May be called from any thread."""
        if self.started is None:
            self.started = time.perf_counter()

    def asked(self, standing: tuple[Controller, ...]) -> tuple[Controller, ...]:
        """All its controllers in their order, where those of the server are ``standing``."""
        return (*self.first, *(standing if self.controllers is None else self.controllers))

    def tell(self, told: Told) -> None:
        """Pass news on. To be called in the event loop of who listens."""
        if told.steps or told.result:
            self.begun()
        self.over = self.over or told.last
        self._news.put_nowait(told)

    async def news(self) -> AsyncIterator[Told]:
        """What comes, until the last."""
        while True:
            told = await self._news.get()
            yield told
            if told.last:
                return
