"""laconic's own engine as a backend."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from laconic.engine import Engine, check, within
from laconic.errors import RequestError, UnmetNeed
from laconic.kv.base import KV, reducible
from laconic.models.base import ShowsHidden
from laconic.policy import Policy, registry
from laconic.serve.backend import Abilities, Busy, Draining, Load, specs, strangers
from laconic.serve.job import Job
from laconic.serve.memory import SHARE, Memory, free
from laconic.serve.prefixes import Prefixes
from laconic.serve.runner import Pulse, Runner
from laconic.thinking.base import Controller

_KEPT = 0.25
"""Of the cache's memory, what is for the texts of earlier requests."""
_LEAST = 256
"""Tokens below which a context is of no use."""
_RECENT = 256
"""Passes of which the page shows what they cost."""


class Own:
    """An engine, and the thread that runs it. ``memory`` is what its cache may take, in bytes; None for half of what
    is free. ``places`` requests run at once, ``queue`` more may wait; ``reuse`` says whether prompts that begin alike
    are read once."""

    name = "own"
    can = Abilities()

    def __init__(
        self, engine: Engine, *, places: int = 16, queue: int = 256, memory: int | None = None, reuse: bool = True
    ) -> None:
        self.engine = engine
        self.text, self.defaults = engine.text, engine.defaults
        self.standing = engine.plan.controllers
        self.queue = queue
        whole = memory or int(SHARE * free(getattr(engine.target, "device", None)))
        kept = int(_KEPT * whole) if reuse else 0
        self.memory = Memory.of(engine.target, whole - kept, engine.plan.kv.most)
        self.context = self.memory.longest
        if self.context < _LEAST:
            raise RequestError(
                f"{whole / 2**30:.2g} GiB hold a text of {self.context} tokens.", "Give the cache more (--memory)."
            )
        self.prefixes = Prefixes(engine.target, kept)
        self.runner = Runner(engine, self.memory, self.prefixes, most=places, told=self._passed)
        self._recent: deque[dict[str, Any]] = deque(maxlen=_RECENT)
        self._before = Pulse()
        self._watcher: Callable[[Sequence[int]], object] = len
        self._draining = False
        self._under_way: list[Job] = []
        """Those that have not ended: known here at once, to the engine's thread only after its pass."""

    def keeper(self, spec: str) -> KV:
        """The kv policy that a request names, held to the server's budget. Raises MethodError subclasses."""
        policy = cast(KV, registry.build("kv", spec, files=False))
        for part in policy.walk():
            if part.needs.reducible_cache:
                reducible(self.engine.target, part.name)
        budget = self.engine.methods.kv_budget
        policy = policy if budget is None else within(policy, budget, self.engine.target)
        if self.memory.cap is not None and (policy.most is None or policy.most > self.memory.cap):
            raise RequestError(
                f"this server's caches hold no more than {self.memory.cap} tokens, and '{spec}' is not bound to that.",
                f"Name a policy with stepwise=True and budget={self.memory.cap} or less.",
            )
        return policy

    def describe(self) -> Mapping[str, Any]:
        """What the engine says, and how requests share it."""
        plan = self.engine.plan
        parts: dict[str, Policy] = {"drafter": plan.drafter, "length": plan.length, "shape": plan.shape}
        parts |= {"verifier": plan.verifier, "kv": plan.kv}
        methods: dict[str, Any] = {name: specs([policy])[0] for name, policy in parts.items()}
        return {
            "backend": self.name,
            **self.engine.describe(),
            "methods": methods | {"think": specs(self.standing)},
            "places": self.runner.most,
            "queue": self.queue,
            "memory": self.memory.most,
            "longest": self.context,
            "prefix_reuse": self.prefixes.possible,
        }

    def controllers(self, think: Sequence[str]) -> tuple[Controller, ...]:
        """Controllers that a client names. No file of the server's is read for one."""
        made = strangers(think)
        check(replace(self.engine.plan, controllers=made), self.text, self.engine.target, self.engine.draft_model)
        target = self.engine.target
        shows = isinstance(target, ShowsHidden) and target.keep_hidden
        for policy in (inner for controller in made for inner in controller.walk()):
            if policy.needs.target_hidden and not shows:
                raise UnmetNeed(
                    f"'{policy.name}' looks at hidden states, which this server does not keep.",
                    "Name it when the server is started (--think), or use another method.",
                )
        return made

    async def start(self) -> None:
        """Start the engine's thread."""
        self.runner.start(asyncio.get_running_loop())

    def submit(self, job: Job) -> None:
        """Let a reply be written; see Backend."""
        if self._draining:
            raise Draining("the server is about to end.", "Send the request to another one.")
        self._under_way = [other for other in self._under_way if not (other.over or other.cancelled)]
        if len(self._under_way) >= self.runner.most + self.queue:
            raise Busy(f"{len(self._under_way)} requests are under way already.", "Come again in a moment.")
        self._under_way.append(job)
        self.runner.submit(job)

    def cancel(self, job: Job) -> None:
        """Nobody waits any more; see Backend."""
        self.runner.cancel(job)

    async def conclude(self, job: Job) -> bool:
        """End a thought; see Backend."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bool] = loop.create_future()

        def done(found: bool) -> None:
            loop.call_soon_threadsafe(_settle, answer, found)

        self.runner.conclude(job, done)
        return await answer

    def load(self) -> Load:
        """What goes on now."""
        return self.runner.load

    def pulse(self) -> Mapping[str, Any]:
        """Sums since the start, and the last passes one by one."""
        p = self.runner.pulse
        return {
            "passes": p.passes, "seconds": p.seconds, "tokens": p.tokens, "drafted": p.drafted,
            "accepted": p.accepted, "paused": p.paused, "abandoned": p.abandoned, "recent": list(self._recent),
        }  # fmt: skip

    def watch(self, passed: Callable[[Sequence[int]], None]) -> None:
        """Tell about each pass; see Backend."""
        self._watcher = passed

    async def stop(self, grace: float) -> None:
        """Drain; see Backend."""
        self._draining = True
        until = time.monotonic() + grace
        while (self.load().running or self.load().waiting) and time.monotonic() < until:
            await asyncio.sleep(0.02)
        await asyncio.to_thread(self.runner.stop)

    def _passed(self, pulse: Pulse) -> None:
        """A pass is over (in the engine's thread)."""
        before, self._before = self._before, Pulse(**vars(pulse))
        self._watcher(pulse.lengths)
        self._recent.append(
            {
                "seconds": round(pulse.seconds - before.seconds, 6),
                "tokens": pulse.tokens - before.tokens,
                "together": pulse.together - before.together,
                "lengths": pulse.lengths,
            }
        )


def _settle(answer: asyncio.Future[bool], found: bool) -> None:
    if not answer.done():  # who asked may have gone
        answer.set_result(found)
