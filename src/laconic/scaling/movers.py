"""The two ways to move attempts on: all in one batch of laconic's loop, or each in completions of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar, cast

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

    lags: ClassVar[bool] = False

    def __init__(self, engine: Engine, *, shares: bool) -> None:
        self.loop = engine.loop()
        self._shares = shares
        self._stem: Slot | None = None
        self._kept: Kept | None = None
        self._waiting: set[Sequence] = set()

    def begin(self, request: Request, *, alone: bool = False) -> Sequence:
        """Let an attempt join. One that shares its prompt with no other joins as every request does."""
        if alone or not self._shares:
            return self.loop.add(request)
        prompt = request.prompt
        passes, reused = 0, len(prompt) - 1
        if self._stem is None and self._kept is None and 1 < len(prompt) < self.loop.target.context:
            passes, reused = self._read(prompt[:-1]), 0
        sequence = self.loop.arrive(request, self._slot(reused or len(prompt) - 1))
        reused = min(reused, sequence.slot.length)  # a kv policy may have to see the last of it itself
        try:
            self.loop.read(sequence, len(prompt))
        except BaseException:
            self.loop.abandon(sequence)
            raise
        sequence.usage.reused += reused
        sequence.usage.prefill_passes += passes
        return sequence

    def branch(self, request: Request, other: Sequence, count: int) -> Sequence:
        """Let an attempt join that goes on from the first ``count`` tokens of another's.

        Of one that is under way it takes the cache over, of one that has ended it reads them.
        """
        slot = self._slot(len(request.prompt) - 1) or self.loop.target.open() if other.done else None
        sequence = self.loop.branch(request, other, count, slot)
        sequence.usage.reused += min(sequence.slot.length, len(request.prompt))
        try:
            self.loop.read(sequence, len(sequence.tokens))
        except BaseException:
            self.loop.abandon(sequence)
            raise
        return sequence

    def wait(self, sequence: Sequence) -> None:
        """Leave an attempt out of the passes, until it is to go on."""
        self.loop.set_aside(sequence)
        self._waiting.add(sequence)

    def go_on(self, sequence: Sequence) -> None:
        """Have an attempt that waits take part again."""
        if sequence in self._waiting:
            self._waiting.remove(sequence)
            self.loop.take_up(sequence)

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
        self.go_on(sequence)
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

    lags: ClassVar[bool] = True

    def __init__(self, engine: RemoteEngine) -> None:
        self.loop = engine.loop()
        self._tasks: dict[Sequence, asyncio.Task[None]] = {}
        self._waiting: set[Sequence] = set()

    def begin(self, request: Request, *, alone: bool = False) -> Sequence:
        """Let an attempt join; it is asked for with the next move."""
        return self.loop.add(request)

    def branch(self, request: Request, other: Sequence, count: int) -> Sequence:
        """Let an attempt join that goes on from the first ``count`` tokens of another's."""
        sequence = self.loop.branch(request, other, count)
        self.loop.read(sequence, len(sequence.tokens))
        return sequence

    def wait(self, sequence: Sequence) -> None:
        """Ask for nothing more of an attempt, until it is to go on."""
        self._waiting.add(sequence)

    def go_on(self, sequence: Sequence) -> None:
        """Ask for more of an attempt that waits."""
        self._waiting.discard(sequence)

    def move(self) -> list[tuple[Sequence, RemoteError | None]]:
        """Until one of the attempts has its next piece."""
        return self.loop.writer.wait(self._move())

    async def _move(self) -> list[tuple[Sequence, RemoteError | None]]:
        for sequence in self.loop.active:
            if sequence not in self._tasks and sequence not in self._waiting:
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
        self._waiting.discard(sequence)
        task = self._tasks.pop(sequence, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self.loop.aclose(sequence)

    def close(self) -> None:
        """Nothing is left: every attempt has ended."""
        for sequence in list(self._tasks):
            self.cancel(sequence)
