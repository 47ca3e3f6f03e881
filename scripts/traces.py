"""What transforms make of one recording: rows, tokens before and after, problems that have a row.

    python scripts/scaling.py record attempts.jsonl --data problems.jsonl --n 200 --attempts 4
    python scripts/traces.py attempts.jsonl --json traces.json shortest first-solution "asap:0.6"

Prints a table for docs/results. Rows go to a file that is thrown away.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import laconic.methods  # noqa: F401  (fills the registry)
from laconic import Engine
from laconic.bench.provenance import provenance
from laconic.cli.options import settle
from laconic.intervals import wilson
from laconic.policy import registry
from laconic.training.traces.base import Tools, TraceTransform
from laconic.training.traces.reading import Source
from laconic.training.traces.rendering import Renderer
from laconic.training.traces.run import convert

HEAD = "| transform | rows | problems kept | tokens before | after | share |\n|---|---:|---:|---:|---:|---:|\n"


def main() -> int:
    """Run every transform that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("specs", nargs="+")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    settle(given.threads, given.model)
    engine = Engine.load(given.model, drafter="none")
    tools = Tools(Renderer(engine.text), engine, seed=given.seed)
    source = Source((("", str(given.recording)),))
    told: dict[str, Any] = {}
    sys.stdout.write(HEAD)
    for spec in given.specs:
        transform = cast(TraceTransform, registry.build("trace", spec))
        begun = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            account = convert(source, Path(folder) / "rows.jsonl", transform, tools)
        low, high = wilson(account.kept, account.problems)
        told[spec] = account.as_dict() | {"kept_ci": [low, high], "cpu_seconds": time.process_time() - begun}
        before, after = account.before / account.rows, account.after / account.rows
        sys.stdout.write(
            f"| `{spec}` | {account.rows} | {account.kept / account.problems:.1%} ({low:.0%} to {high:.0%}) "
            f"| {before:.0f} | {after:.0f} | {account.after / account.before:.2f} |\n"
        )
        sys.stdout.flush()
    if given.json:
        found = {"transforms": told, "provenance": provenance()}
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
