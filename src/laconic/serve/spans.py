"""A span of OpenTelemetry for each reply, where that is set up (``opentelemetry-instrument laconic serve``).

Without its SDK the tracer does nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache
from typing import Any


@cache
def _tracer() -> Any:
    try:
        from opentelemetry import trace
    except ImportError:
        return None
    return trace.get_tracer("laconic.serve")


def reply(seconds: float, said: Mapping[str, Any]) -> None:
    """A reply that has just ended and took so long; ``said`` is what the log says of it, never texts."""
    tracer = _tracer()
    if tracer is None:
        return
    end = time.time_ns()
    span = tracer.start_span("laconic.reply", start_time=end - int(seconds * 1e9))
    for name, value in said.items():
        span.set_attribute(f"laconic.{name}", value)
    span.end(end_time=end)
