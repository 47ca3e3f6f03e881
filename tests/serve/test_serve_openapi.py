"""What the OpenAPI document says is true: of requests drawn from it, right and wrong ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode, checks

from tests.serve.live import Live, own, serving, until

SHORT = 6
CHECKS = (
    checks.not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
    checks.response_schema_conformance, checks.response_headers_conformance, checks.negative_data_rejection,
)  # fmt: skip


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with serving(own()) as made:
        yield made
        until(made.idle)


def shortened(body: Any, path: str) -> None:
    """A request that writes until the context is full says no more, and takes long."""
    if isinstance(body, dict):
        usual = "max_output_tokens" if path.endswith("/responses") else "max_tokens"
        for name in {"max_tokens", "max_completion_tokens", "max_output_tokens"} & set(body) or {usual}:
            said = body.get(name, SHORT)
            if said is None or (type(said) is int and SHORT <= said < 1 << 63):
                body[name] = SHORT


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"])
def test_requests_drawn_from_the_document(live: Live, mode: GenerationMode) -> None:
    described = schemathesis.openapi.from_url(f"{live.url}/openapi.json")
    operations = [found.ok() for found in described.get_all_operations()]
    paths = {operation.path for operation in operations}
    assert paths >= {"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/health"}
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and not operation.body:
            continue

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=8 if operation.body else 4, derandomize=True, deadline=None, database=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        def asks(case: Any) -> None:
            shortened(case.body, case.path)
            case.call_and_validate(checks=CHECKS, timeout=20)

        asks()
