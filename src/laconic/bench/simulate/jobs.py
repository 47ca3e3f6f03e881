"""Requests for a simulated server: recorded texts, in the lengths and at the times that a load asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from laconic.bench.simulate.arrivals import Load
from laconic.bench.simulate.recording import Script, lay
from laconic.errors import RequestError


@dataclass(frozen=True, slots=True)
class Job:
    """One request: its text, and when it comes, in seconds (closed loops: when its client is free)."""

    script: Script
    at: float = 0.0


def jobs(scripts: Sequence[Script], load: Load, n: int, seed: int = 0) -> list[Job]:
    """At most ``n`` requests under ``load``, the same for the same ``seed``.

    Texts come in the order of the recording, round and round. Under a trace every request has the traced prompt length
    and as many written tokens as were traced; texts are laid end to end and cut for that.
    """
    if n < 1:
        raise RequestError(f"a simulation needs at least one request, not {n}.")
    times = load.times(n, seed)
    if load.trace is None:
        return [Job(scripts[i % len(scripts)], at) for i, at in enumerate(times)]
    longest = max(script.limit for script in scripts)
    return [
        Job(lay(scripts, i, a.prompt, a.written, max(longest, a.written), f"{i}"), at)
        for i, (a, at) in enumerate(zip(load.trace.arrivals, times, strict=False))
    ]
