"""A reply as a span of OpenTelemetry."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from laconic.serve import spans


class Span:
    def __init__(self, name: str, start: int) -> None:
        self.name, self.start, self.ended = name, start, 0
        self.said: dict[str, Any] = {}

    def set_attribute(self, name: str, value: Any) -> None:
        self.said[name] = value

    def end(self, end_time: int) -> None:
        self.ended = end_time


@pytest.fixture(autouse=True)
def fresh() -> Any:
    spans._tracer.cache_clear()
    yield
    spans._tracer.cache_clear()


def test_a_reply_is_a_span(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Span] = []

    class Tracer:
        def start_span(self, name: str, start_time: int) -> Span:
            made.append(Span(name, start_time))
            return made[-1]

    module, trace = ModuleType("opentelemetry"), ModuleType("opentelemetry.trace")
    trace.get_tracer = lambda name: Tracer()  # type: ignore[attr-defined]
    module.trace = trace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "opentelemetry", module)
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", trace)
    spans.reply(1.5, {"id": "x", "tokens": 12, "concluded": ["settled"]})
    (span,) = made
    assert span.name == "laconic.reply"
    assert span.ended - span.start == 1_500_000_000
    assert span.said == {"laconic.id": "x", "laconic.tokens": 12, "laconic.concluded": ["settled"]}


def test_without_it_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    spans.reply(1.0, {"id": "x"})
