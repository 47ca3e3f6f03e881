"""Requests drawn from the server's own OpenAPI document, right and wrong ones: is every reply as it is documented?

    python scripts/in_serve/conformance.py --examples 400 --json docs/results/serve_conformance.json

A reply may be no error of the server's, has a documented status, type and shape, comes in time, and what breaks the
document is refused. At the end nothing may be under way.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from schemathesis import GenerationMode, checks
from schemathesis.core.failures import FailureGroup
from served import KEYS, bearer, serving

from laconic.bench.provenance import provenance

CHECKS = (
    checks.not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
    checks.response_schema_conformance, checks.response_headers_conformance, checks.negative_data_rejection,
)  # fmt: skip
SHORT = 6
IN_TIME = 30.0


def shortened(body: Any) -> None:
    """A request that writes until the context is full says no more, and takes long."""
    if isinstance(body, dict):
        for name in {"max_tokens", "max_completion_tokens"} & set(body) or {"max_tokens"}:
            said = body.get(name, SHORT)
            if said is None or (type(said) is int and SHORT <= said < 1 << 63):
                body[name] = SHORT


def main() -> None:
    """Ask, print, write the record; the exit status says whether anything was not as documented."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=400, help="of each operation, right and wrong ones apart")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given_options = parser.parse_args()
    statuses: dict[str, Counter[str]] = {}
    failed: list[str] = []
    slowest = 0.0
    with serving("--memory", "0.25") as served:
        headers = bearer(KEYS[0])
        described = schemathesis.openapi.from_url(f"{served.url}/openapi.json", headers=headers)
        operations = [found.ok() for found in described.get_all_operations()]
        for operation in operations:
            for mode in GenerationMode.POSITIVE, GenerationMode.NEGATIVE:
                counts = statuses.setdefault(f"{operation.label}, {mode.value}", Counter())
                if mode is GenerationMode.NEGATIVE and not operation.body:
                    continue

                @seed(given_options.seed)
                @given(case=operation.as_strategy(generation_mode=mode))
                @settings(
                    max_examples=given_options.examples if operation.body else 20, deadline=None, database=None,
                    suppress_health_check=list(HealthCheck),
                )  # fmt: skip
                def asks(case: Any, counts: Counter[str] = counts) -> None:
                    nonlocal slowest
                    shortened(case.body)
                    begun = time.monotonic()
                    reply = case.call(headers=headers, timeout=IN_TIME)
                    slowest = max(slowest, time.monotonic() - begun)
                    counts[str(reply.status_code)] += 1
                    try:
                        case.validate_response(reply, checks=CHECKS)
                    except FailureGroup as group:
                        failed.extend(f"{case.operation.label}: {failure}" for failure in group.exceptions)

                asks()
        idle = served.idle()
        errors = served.lines("error")
    record = {
        "statuses": {name: dict(sorted(counts.items())) for name, counts in statuses.items() if counts},
        "requests": sum(sum(counts.values()) for counts in statuses.values()),
        "not_as_documented": len(failed),
        "first_failures": failed[:5],
        "server_errors_logged": len(errors),
        "slowest_seconds": round(slowest, 2),
        "idle_at_the_end": idle,
        "settings": {name: value for name, value in vars(given_options).items() if name != "json"},
        "provenance": provenance(),
    }
    print(json.dumps(record, indent=1))
    if given_options.json:
        given_options.json.write_text(json.dumps(record, indent=1) + "\n")
    raise SystemExit(bool(failed or errors or not idle))


if __name__ == "__main__":
    main()
