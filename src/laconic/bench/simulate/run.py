"""A whole simulation: every policy under every load, on the same requests, and the record of what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import laconic.methods  # noqa: F401  (fills the registry)
from laconic.bench.provenance import provenance
from laconic.bench.simulate.arrivals import Load
from laconic.bench.simulate.costs import PassCost
from laconic.bench.simulate.host import NOTHING, HostCost
from laconic.bench.simulate.jobs import jobs
from laconic.bench.simulate.memory import UNBOUNDED, Bounds
from laconic.bench.simulate.outcome import summary
from laconic.bench.simulate.recording import Recording
from laconic.bench.simulate.server import Server
from laconic.errors import RequestError, UnmetNeed
from laconic.policy import registry
from laconic.speculation.base import LengthPolicy

PLAIN = "none"
"""The policy that does not draft."""
POLICIES = (PLAIN, "constant:2", "constant:4", "constant:8", "marginal")
_REQUESTS = 96
"""Requests of a load that has no end of its own, at least; closed loops get ``_TURNS`` a client."""
_TURNS = 6
_TRACED = 500
After = Callable[[str, str], Any]


@dataclass(frozen=True, slots=True)
class Setup:
    """What to simulate: loads, policies (length specs, or ``none``), costs and bounds.

    ``requests`` None serves 500 of a trace, and otherwise 96 or six for each client of the largest closed loop.
    ``slo`` is a bound on latency, in seconds; ``ties`` as in ``Server``.
    """

    loads: tuple[Load, ...]
    target: PassCost
    draft: PassCost | None
    policies: tuple[str, ...] = POLICIES
    host: HostCost = NOTHING
    bounds: Bounds = UNBOUNDED
    requests: int | None = None
    slo: float | None = None
    seed: int = 0
    ties: bool = True


def policy(spec: str) -> LengthPolicy | None:
    """A fresh length policy, None for plain decoding. Raises MethodError subclasses, UnmetNeed without models."""
    if spec == PLAIN:
        return None
    made = cast(LengthPolicy, registry.build("length", spec))
    for part in made.walk():
        if part.needs.target_hidden or part.needs.draft_hidden:
            raise UnmetNeed(f"'{part.name}' looks at hidden states.", "A simulation has no models, and so none.")
    return made


def simulate(
    recording: Recording,
    setup: Setup,
    *,
    after: After = lambda load, policy: None,
    about: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Run every policy under every load and return the record; all policies of a load serve the very same requests.

    ``after`` is told each load and policy when it is done; ``about`` is added to the record's setup. Ctrl-C keeps the
    loads that are complete; KeyboardInterrupt before the first. Raises MethodError subclasses and RequestError.
    """
    if not setup.policies or not setup.loads:
        raise RequestError("a simulation needs a policy and a load.", "E.g. --policies none,marginal.")
    for spec in setup.policies:
        policy(spec)
    points: list[dict[str, Any]] = []
    interrupted = False
    n = _requests(setup)
    try:
        for load in setup.loads:
            work = jobs(recording.scripts, load, n, setup.seed)
            runs = {}
            for spec in setup.policies:
                server = Server(setup.target, setup.draft, policy(spec), host=setup.host, bounds=setup.bounds,
                                ties=setup.ties)  # fmt: skip
                runs[spec] = summary(server.run(work, load.clients), setup.slo)
                after(load.label, spec)
            points.append({"load": load.label, "kind": load.kind, "value": load.value, "policies": runs})
    except KeyboardInterrupt:
        interrupted = True
        if not points:
            raise
    return {
        "kind": "simulation",
        "setup": {
            "policies": list(setup.policies),
            "requests": n,
            "slo": setup.slo,
            "ties": setup.ties,
            "seed": setup.seed,
            "max_batch": setup.bounds.batch,
            "cache_tokens": setup.bounds.tokens,
            "bytes": setup.bounds.bytes,
            "host": setup.host.as_dict(),
            **(about or {}),
        },
        "recording": {
            "texts": len(recording.scripts),
            "tokens": recording.written,
            "hit_rate": recording.hit_rate,
            "header": dict(recording.header),
            "left_out": left_out(recording.problems),
        },
        "trace_left_out": left_out(setup.loads[0].trace.problems if setup.loads[0].trace else ()),
        "loads": points,
        "interrupted": interrupted,
        "provenance": provenance(),
    }


def left_out(problems: Sequence[Any]) -> list[dict[str, Any]]:
    """Lines that could not be used, and why."""
    return [{"line": problem.line, "reason": problem.reason} for problem in problems]


def _requests(setup: Setup) -> int:
    if setup.requests is not None:
        return setup.requests
    if any(load.trace for load in setup.loads):
        return _TRACED
    return max(_REQUESTS, *(_TURNS * (load.clients or 0) for load in setup.loads), 0)
