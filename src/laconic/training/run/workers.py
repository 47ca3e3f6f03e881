"""Rollouts in several processes: Python does one thing at a time, and sampling many rows is half Python."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
import weakref
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import torch

from laconic.engine import Engine, Methods
from laconic.errors import TrainingError
from laconic.models.causal_lm import CausalLM
from laconic.models.text import Text
from laconic.speculation.base import Drafter
from laconic.types import Request, Result


class Workers:
    """``count`` processes with an engine each, which share the weights' memory until one packs them for itself.

    They begin when there are weights, and end with this object. A script of one's own that starts them must guard its
    work by ``if __name__ == "__main__"``, as with all processes that Python spawns. Raises TrainingError, with what the
    process said, where one fails or is killed.
    """

    def __init__(self, count: int, text: Text, methods: Methods, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for _ in range(count):
            mine, theirs = context.Pipe()
            process = context.Process(target=serve, args=(theirs, threads), daemon=True)
            process.start()
            theirs.close()
            mine.send((text, methods))
            self._pipes.append(mine)
            self._processes.append(process)
        self.passes = 0
        """Passes of all processes so far."""
        self.path = ""
        """How they make these (``models.choice``)."""
        self._end = weakref.finalize(self, _end, list(self._pipes), list(self._processes))

    def load(self, model: Any, base: str | None = None) -> None:
        """Take a model's weights for what is sampled from now on; see :func:`target`."""
        self.path = self._asked([("load", model, base)] * len(self._pipes))[0]

    def run(self, requests: Sequence[Request], *, batch: int) -> list[Result]:
        """Serve requests, in turn by the processes, at most ``batch`` at once in all."""
        count = len(self._pipes)
        parts = [list(requests[at::count]) for at in range(count)]
        results: list[Any] = [None] * len(requests)
        for at, (made, passes) in enumerate(self._asked([("run", part, -(-batch // count)) for part in parts])):
            results[at::count] = made
            self.passes += passes
        return results

    def _asked(self, what: Sequence[Any]) -> list[Any]:
        """What each process answers. All are heard before one's failure is told, so that none is out of step."""
        try:
            for pipe, asked in zip(self._pipes, what, strict=True):
                pipe.send(asked)
            answers = [pipe.recv() for pipe in self._pipes]
        except (EOFError, OSError) as error:
            self.close()
            raise TrainingError(
                f"a process that samples has ended ({type(error).__name__}: {error}).",
                "It may have been killed for memory, or there were too few file descriptors.",
            ) from error
        for well, told in answers:
            if not well:
                raise TrainingError(f"a process that samples has failed: {told}")
        return [told for _, told in answers]

    def close(self) -> None:
        """End the processes."""
        self._end()


def kept(methods: Methods) -> Methods:
    """The same methods with a drafter that is built once: it stays while engines come and go."""
    return replace(methods, drafter=methods.plan().drafter)


def release(methods: Methods | None) -> None:
    """Have the drafter let go of the model that it was used with last."""
    drafter = None if methods is None else methods.drafter
    for policy in drafter.walk() if isinstance(drafter, Drafter) else ():
        if isinstance(policy, Drafter):
            policy.release()


def target(model: Any, base: str | None) -> CausalLM:
    """A model to sample from, which heads take for the one with the fingerprint ``base``."""
    made = CausalLM(model)
    if base is not None:
        made.known_as(base)
    return made


def serve(pipe: Connection, threads: int) -> None:
    """What one process does until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the process that asked
    torch.set_num_threads(threads)
    text, methods = pipe.recv()
    methods = kept(methods)
    current: Any = None
    engine: Engine | None = None
    while True:
        try:
            asked = pipe.recv()
        except EOFError:
            return
        try:
            if asked[0] == "load":
                engine = current = None  # let go of the old weights before there are new ones
                release(methods)
                current = target(asked[1], asked[2])
                engine = Engine(current, text, methods)
                pipe.send((True, current.path))
            else:
                assert engine is not None
                before = current.passes
                pipe.send((True, (engine.run(asked[1], batch=asked[2]), current.passes - before)))
        except BrokenPipeError:
            return
        except Exception:
            pipe.send((False, traceback.format_exc()))


def _end(pipes: list[Connection], processes: list[Any]) -> None:
    for pipe in pipes:
        pipe.close()
    for process in processes:
        process.join(5)
        if process.is_alive():
            process.terminate()
