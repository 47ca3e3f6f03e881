"""Prometheus metrics: vLLM's names where the thing is the same, laconic's own for what only it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from laconic.serve.audit import Audit
from laconic.serve.backend import Backend
from laconic.serve.job import Job, Told

_WAITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_LENGTHS = (0, 1, 2, 4, 8, 16, 32, 64)
_THOUGHTS = (0, 16, 64, 256, 1024, 4096, 16384, 65536)
OTHERS = "other"
"""The label of controllers that only clients have named, so that clients cannot make up labels."""


class Metrics:
    """One server's metrics. Sums of passes are the backend's own; what replies were like is counted as they end."""

    def __init__(self, backend: Backend, audit: Audit, model: str) -> None:
        self.registry = CollectorRegistry()
        label = {"model_name": model}

        def counter(name: str, said: str, *labels: str) -> Counter:
            return Counter(name, said, ["model_name", *labels], registry=self.registry)

        def histogram(name: str, said: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, said, ["model_name"], buckets=buckets, registry=self.registry).labels(**label)

        self._label = label
        self._known = {policy.name for policy in backend.standing} | {"loop", "client", "budget", "effort"}
        self._ended = counter("vllm:request_success", "Requests that have ended, by reason.", "finished_reason")
        self._left = counter("laconic:requests_left", "Requests whose clients went before the end.").labels(**label)
        self._failed = counter("laconic:request_failures", "Requests that have failed, by kind of error.", "error")
        self._prompt = counter("vllm:prompt_tokens", "Tokens of prompts.").labels(**label)
        self._reused = counter("vllm:prefix_cache_hits", "Tokens of prompts that were read before.").labels(**label)
        self.written = 0
        """Tokens of replies that have ended."""
        self._kinds = counter("laconic:tokens", "Tokens by kind.", "kind")
        self._exits = counter("laconic:conclusions", "Thoughts that were ended, by whom.", "method")
        self._empty = counter("laconic:empty_answers", "Replies that stopped without an answer.").labels(**label)
        self._first = histogram("vllm:time_to_first_token_seconds", "From a request to its first token.", _WAITS)
        self._whole = histogram("vllm:e2e_request_latency_seconds", "From a request to its end.", _WAITS)
        self._thought = histogram("laconic:thought_tokens", "Tokens of a reply before its answer.", _THOUGHTS)
        self._length = histogram("laconic:draft_length", "Tokens drafted for a request in a pass.", _LENGTHS)
        self.registry.register(_Live(self, backend, audit, label))

    def passed(self, lengths: Sequence[int]) -> None:
        """A pass is over in which so many tokens were drafted for its requests."""
        for length in lengths:
            self._length.observe(length)

    def left(self) -> None:
        """A client went before its reply was whole."""
        self._left.inc()

    def ended(self, job: Job, told: Told, now: float) -> None:
        """A reply is over."""
        if told.error is not None:
            self._failed.labels(**self._label, error=type(told.error).__name__).inc()
            return
        assert told.result is not None
        result, used = told.result, told.result.usage
        self._ended.labels(**self._label, finished_reason=result.finish_reason).inc()
        self._prompt.inc(used.prompt)
        self._reused.inc(used.reused)
        self.written += len(result.tokens)
        for kind in ("thinking", "answer", "injected", "probed"):
            self._kinds.labels(**self._label, kind=kind).inc(getattr(used, kind))
        for event in result.events:
            if event.action == "conclude":
                method = event.method if event.method in self._known else OTHERS
                self._exits.labels(**self._label, method=method).inc()
        if result.finish_reason == "stop" and not result.answer:
            self._empty.inc()
        self._thought.observe(result.thought)
        self._whole.observe(now - job.received)
        if job.started is not None:
            self._first.observe(job.started - job.received)

    def page(self) -> bytes:
        """All of it in Prometheus' text format."""
        return bytes(generate_latest(self.registry))


class _Live(Collector):  # type: ignore[misc]  # the library ships no types that mypy reads
    """What is read off the backend and the audit when somebody asks."""

    def __init__(self, metrics: Metrics, backend: Backend, audit: Audit, label: Mapping[str, str]) -> None:
        self._metrics, self._backend, self._audit, self._label = metrics, backend, audit, label

    def collect(self) -> Iterator[Any]:
        """Families of metrics."""
        names, values = list(self._label), list(self._label.values())

        def gauge(name: str, said: str, value: float) -> GaugeMetricFamily:
            family = GaugeMetricFamily(name, said, labels=names)
            family.add_metric(values, value)
            return family

        def counter(name: str, said: str, value: float) -> CounterMetricFamily:
            family = CounterMetricFamily(name, said, labels=names)
            family.add_metric(values, value)
            return family

        load, pulse, audit = self._backend.load(), self._backend.pulse(), self._audit
        yield gauge("vllm:num_requests_running", "Requests that run.", load.running)
        yield gauge("vllm:num_requests_waiting", "Requests that wait.", load.waiting)
        yield gauge("vllm:kv_cache_usage_perc", "Share of the cache's memory.", load.nbytes / max(load.budget, 1))
        yield gauge("laconic:kept_bytes", "Bytes of the texts of earlier requests.", load.kept)
        written = self._metrics.written + pulse.get("abandoned", 0)
        yield counter("vllm:generation_tokens", "Tokens written, those of clients that went included.", written)
        if pulse:
            yield counter("vllm:spec_decode_num_draft_tokens", "Tokens drafted.", pulse["drafted"])
            yield counter("vllm:spec_decode_num_accepted_tokens", "Drafted tokens accepted.", pulse["accepted"])
            yield counter("laconic:passes", "Passes made.", pulse["passes"])
            yield counter("laconic:pass_seconds", "Seconds spent in passes.", pulse["seconds"])
            yield counter("laconic:pass_tokens", "Tokens written in passes.", pulse["tokens"])
            recent = pulse["recent"]
            spent = sum(one["seconds"] for one in recent)
            goodput = sum(one["tokens"] for one in recent) / spent if spent else 0.0
            yield gauge("laconic:goodput", "Tokens a second over the last passes.", goodput)
        yield counter("laconic:audit_compared", "Watched replies whose two answers were compared.", audit.compared)
        yield counter("laconic:audit_changed", "Of those, such that ending early would have changed.", audit.changed)
        low, high = audit.interval
        yield gauge("laconic:audit_harm_low", "Lower end of the 95 % interval of that share.", low)
        yield gauge("laconic:audit_harm_high", "Upper end of it.", high)
        yield gauge("laconic:audit_stopped", "1 where the server has stopped ending thoughts.", audit.stopped)
        if audit.saved is not None:
            yield gauge("laconic:audit_saved", "Share of thinking tokens saved, by watched replies.", audit.saved)
