"""What the server needs of whoever runs the model: requests in, news of them out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from laconic.errors import RequestError
from laconic.kv.base import KV
from laconic.models.defaults import Defaults
from laconic.models.text import Text
from laconic.policy import Policy, registry
from laconic.serve.job import Job
from laconic.thinking.base import Controller

ENDED = "the client asked for the answer"
"""Why a thought has ended that a client had concluded."""


class Busy(RequestError):
    """More requests wait than the server takes. ``seconds`` is when to come again."""

    seconds = 1


class Draining(RequestError):
    """The server is about to end and takes no more requests."""


@dataclass(frozen=True, slots=True)
class Load:
    """What goes on at a moment. ``kept`` are bytes of earlier requests' texts, ``places`` how many may run at once."""

    running: int = 0
    waiting: int = 0
    places: int = 0
    kept: int = 0
    nbytes: int = 0
    budget: int = 0


@dataclass(frozen=True, slots=True)
class Abilities:
    """What requests may ask of a backend; what is missing is refused by name."""

    logprobs: bool = True
    drafts: bool = True
    prediction: bool = True
    grammar: bool = True
    kv: bool = True


class Backend(Protocol):
    """Whoever runs the model. Its methods are called in the web server's event loop."""

    name: str
    """``own``, ``upstream`` or ``vllm``."""
    text: Text
    context: int
    defaults: Defaults
    can: Abilities
    standing: tuple[Controller, ...]
    """The server's own controllers, for requests that name none."""

    def describe(self) -> Mapping[str, Any]:
        """What runs and how; plain values, ready for JSON."""
        ...

    def keeper(self, spec: str) -> KV:
        """The kv policy that a request names; only where ``can.kv``. Raises MethodError subclasses."""
        ...

    def controllers(self, think: Sequence[str]) -> tuple[Controller, ...]:
        """Controllers that a client names, checked for this model. Raises MethodError subclasses."""
        ...

    async def start(self) -> None:
        """Get ready. Returns when requests can be served."""
        ...

    def submit(self, job: Job) -> None:
        """Let a reply be written; news come through the job. Raises Busy, Draining and RequestError."""
        ...

    def cancel(self, job: Job) -> None:
        """Nobody waits for this reply any more."""
        ...

    async def conclude(self, job: Job) -> bool:
        """End its thought at the next token, or as soon as it begins; says whether there is, or may be, one to end."""
        ...

    def load(self) -> Load:
        """What goes on now."""
        ...

    def pulse(self) -> Mapping[str, Any]:
        """What the last passes cost and gave, for whoever watches; plain values."""
        ...

    def watch(self, passed: Callable[[Sequence[int]], None]) -> None:
        """From now on, tell ``passed`` after each pass how many tokens were drafted for each of its requests.

        It is called in whatever thread makes the passes; backends that know of none never call it.
        """
        ...

    async def stop(self, grace: float) -> None:
        """Take no more requests, let those that run end within ``grace`` seconds, and end the others with an error.

        It may be called again.
        """
        ...


@dataclass
class Jobs:
    """Requests that have not ended, by their ids. A reply of several has one job for each."""

    by_id: dict[str, list[Job]] = field(default_factory=dict)

    def add(self, id: str, jobs: list[Job]) -> None:
        """From now on they can be found."""
        self.by_id[id] = jobs

    def remove(self, id: str) -> bool:
        """They have ended; says whether they were still known."""
        return self.by_id.pop(id, None) is not None

    def of(self, id: str, key: str) -> list[Job]:
        """The jobs of a request, for its owner alone; none for anybody else."""
        return [job for job in self.by_id.get(id, []) if job.key == key]


def strangers(think: Sequence[str]) -> tuple[Controller, ...]:
    """Controllers that a client names. No file of the server's is read for one, and no pattern of theirs is tried."""
    return tuple(cast(Controller, registry.build("think", spec, files=False)) for spec in think)


def specs(policies: Iterable[Policy]) -> list[str]:
    """Policies as clients may see them: where the operator's files are is nobody's business."""
    return [_without_folders(policy) for policy in policies]


def _without_folders(policy: Policy) -> str:
    said = policy.spec()
    for inner in policy.walk():
        for knob in inner.files:
            if place := str(getattr(inner, knob, "") or ""):
                said = said.replace(place, Path(place).name)
    return said
