"""The two ways to move attempts on: all in one batch of laconic's loop, or each in completions of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from laconic.errors import RemoteError
from laconic.models.base import Kept, Resumes, Slot
from laconic.sequence import Sequence
from laconic.types import Request

if TYPE_CHECKING:
    from laconic.engine import Engine
    from laconic.remote.engine import RemoteEngine


class Own:
    """Attempts in one ragged batch. A prompt that they share is read once, and each goes on from what came of it.

    With the project's own kernels they all read the prompt's keys and values where they lie; elsewhere each has a copy.
    """

    def __init__(self, engine: Engine, *, shares: bool) -> None:
        self.loop = engine.loop()
        self._shares = shares
        self._stem: Slot | None = None
        self._kept: Kept | None = None

    def begin(self, request: Request) -> Sequence:
        """Let an attempt join. One that shares its prompt with no other joins as every request does."""
        if not self._shares:
            return self.loop.add(request)
        prompt = request.prompt
        passes, reused = 0, len(prompt) - 1
        if self._stem is None and self._kept is None and 1 < len(prompt) < self.loop.target.context:
            passes, reused = self._read(prompt[:-1]), 0
        sequence = self.loop.arrive(request, self._slot(reused or len(prompt) - 1))
        try:
            self.loop.read(sequence, len(prompt))
        except BaseException:
            self.loop.abandon(sequence)
            raise
        sequence.usage.reused += reused
        sequence.usage.prefill_passes += passes
        return sequence

    def _read(self, tokens: tuple[int, ...]) -> int:
        """Read what all attempts begin with; returns the passes that it took."""
        target = self.loop.target
        slot = target.open()
        try:
            passes = target.prefill(slot, tokens)
            if isinstance(target, Resumes) and target.resumes:
                self._kept = target.keep(slot)
        except BaseException:
            slot.close()
            raise
        if self._kept is None:
            self._stem = slot
        else:
            slot.close()
        return passes

    def _slot(self, length: int) -> Slot | None:
        if self._kept is not None:
            return cast(Resumes, self.loop.target).resume(self._kept, length)
        return None if self._stem is None else self._stem.fork()

    def move(self) -> list[tuple[Sequence, RemoteError | None]]:
        """One pass."""
        return [(sequence, None) for sequence in self.loop.step()]

    def conclude(self, sequence: Sequence, reason: str) -> bool:
        """At once, or as soon as the thought is open."""
        return self.loop.conclude(sequence, reason)

    def cancel(self, sequence: Sequence) -> None:
        """Its slot is closed."""
        self.loop.cancel(sequence)

    def close(self) -> None:
        """The prompt's cache is given back."""
        self._kept = None
        if self._stem is not None:
            self._stem.close()
            self._stem = None


class Served:
    """Attempts behind a server: each is a chain of completions, and none waits for another.

    One that the server drops fails alone.
    """

    def __init__(self, engine: RemoteEngine) -> None:
        self.loop = engine.loop()
        self._tasks: dict[Sequence, asyncio.Task[None]] = {}

    def begin(self, request: Request) -> Sequence:
        """Let an attempt join; it is asked for with the next move."""
        return self.loop.add(request)

    def move(self) -> list[tuple[Sequence, RemoteError | None]]:
        """Until one of the attempts has its next piece."""
        return self.loop.writer.wait(self._move())

    async def _move(self) -> list[tuple[Sequence, RemoteError | None]]:
        for sequence in self.loop.active:
            if sequence not in self._tasks:
                self._tasks[sequence] = asyncio.ensure_future(self.loop.advance(sequence))
        if not self._tasks:
            return []
        done, _ = await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)
        ended: list[tuple[Sequence, RemoteError | None]] = []
        for sequence in [s for s, task in self._tasks.items() if task in done]:
            error = self._tasks.pop(sequence).exception()
            if isinstance(error, RemoteError):
                await self.loop.aclose(sequence)
                ended.append((sequence, error))
            elif error is not None:
                raise error
            elif sequence.done:
                ended.append((sequence, None))
        return ended

    def conclude(self, sequence: Sequence, reason: str) -> bool:
        """What the server is writing of the thought is broken off."""

        async def ending() -> bool:
            return self.loop.conclude(sequence, reason)

        return self.loop.writer.wait(ending())

    def cancel(self, sequence: Sequence) -> None:
        """Its connection is closed, and the server stops."""
        self.loop.writer.wait(self._cancel(sequence))

    async def _cancel(self, sequence: Sequence) -> None:
        task = self._tasks.pop(sequence, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self.loop.aclose(sequence)

    def close(self) -> None:
        """Nothing is left: every attempt has ended."""
        for sequence in list(self._tasks):
            self.cancel(sequence)
