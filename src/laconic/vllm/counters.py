"""What laconic did in a vLLM server, in vLLM's own metrics (``/metrics``)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from laconic.policy import Policy
from laconic.sequence import Sequence as Served

_TOKENS = ("tokens", "Tokens of requests that were decided in the server.", "kind")
_KINDS = ("thinking", "answer", "injected", "probed", "dropped")


@cache
def _counter(name: str, about: str, *labels: str) -> Any:
    from prometheus_client import Counter

    return Counter(f"laconic:{name}", about, labelnames=labels)


def request(think: Sequence[str | Policy], where: str) -> None:
    """A request came that names controllers, which are carried out in the workers or in the server."""
    methods = "+".join(sorted({str(spec).split(":")[0] for spec in think})) or "none"  # as few series as can be
    _counter("requests", "Requests under laconic's control.", "methods", "where").labels(methods, where).inc()


def served(s: Served) -> None:
    """A request that was decided in the server is over."""
    usage = s.result().usage
    for kind in _KINDS:
        _counter(*_TOKENS).labels(kind).inc(getattr(usage, kind))
    for event in s.events:
        _counter("actions", "What controllers did.", "method", "action").labels(event.method, event.action).inc()


def tokens() -> dict[str, int]:
    """Tokens by kind so far, of requests that were decided in this process."""
    (metric,) = _counter(*_TOKENS).collect()
    return {sample.labels["kind"]: int(sample.value) for sample in metric.samples if sample.name.endswith("_total")}


def fault() -> None:
    """A controller raised an error in the server."""
    _counter("faults", "Requests that were ended because their control failed.").inc()
