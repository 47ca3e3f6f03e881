"""Coroutines for callers that are not asynchronous: an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_PATIENCE = 5.0
"""Seconds that a coroutine which was broken off has to put its things in order."""


class Background:
    """An event loop that outlives single calls, so that connections can be kept; started with the first of them.

    A thread, since the caller's own may have a running loop already (notebooks). Any number of threads may call.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    @property
    def started(self) -> bool:
        """Whether anything has been run."""
        return self._loop is not None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run to the end. An exception in the caller's thread, such as Ctrl-C, cancels it first."""
        over = threading.Event()

        async def whole() -> T:
            try:
                return await coroutine
            finally:
                over.set()

        future = asyncio.run_coroutine_threadsafe(whole(), self._started())
        try:
            return future.result()
        except BaseException:
            if future.cancel():
                over.wait(_PATIENCE)
            raise

    def stop(self) -> None:
        """End the thread and what still runs in it. Safe to call more than once; a later ``run`` starts anew."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(_PATIENCE)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_serve, args=(self._loop,), name="laconic-remote", daemon=True)
                self._thread.start()
            return self._loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped, then end what is left in it and close it."""
    try:
        loop.run_forever()
        loop.run_until_complete(_end())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


async def _end() -> None:
    """Cancel what is left in this loop, and wait for it."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
