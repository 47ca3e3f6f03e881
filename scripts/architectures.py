"""Tries laconic on every causal architecture of the installed Transformers, and writes docs/architectures.md.

    python scripts/architectures.py                 # all of them, about ten minutes
    python scripts/architectures.py --only qwen3_next,mamba2

Each is built small with random weights (laconic.bench.zoo) and examined in a process of its own, so that one that ends
its process does not end the run.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import warnings
from collections import Counter
from importlib.metadata import version
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "architectures.md"
MEMORY, SECONDS = 10 << 30, 240
"""What one architecture may take of memory, in bytes, and of time."""


def one(kind: str) -> dict[str, str]:
    """Examine one architecture in this process."""
    import torch

    from laconic.bench.zoo.build import build
    from laconic.bench.zoo.examine import examine
    from laconic.errors import UnsupportedModel

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    try:
        model = build(kind)
    except UnsupportedModel as error:
        return {"kind": kind, "outcome": "not built", "path": "", "reason": error.message}
    except Exception as error:  # whatever a configuration's own code raises
        return {"kind": kind, "outcome": "not built", "path": "", "reason": f"{type(error).__name__}: {error}"}
    verdict = examine(model)
    return {"kind": kind, "outcome": verdict.outcome, "path": verdict.path, "reason": verdict.reason}


def apart(kind: str) -> dict[str, str]:
    """Examine one architecture in a process of its own."""
    command = [sys.executable, __file__, "--one", kind]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return {"kind": kind, "outcome": "crash", "path": "", "reason": f"took more than {SECONDS} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        return {
            "kind": kind,
            "outcome": "crash",
            "path": "",
            "reason": f"the process ended with {done.returncode}: {last}",
        }
    found: dict[str, str] = json.loads(lines[-1])
    return found


def page(rows: list[dict[str, str]]) -> str:
    """The page: counts, then a row an architecture."""
    counts = Counter(row["outcome"] for row in rows)
    said = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
    paths = Counter(row["path"] for row in rows if row["outcome"] == "exact")
    lines = [
        "# Architectures",
        "",
        f"Every causal language model type of Transformers {version('transformers')}, built small with random weights",
        "and compared with its own pass over the whole text, without a cache, in float32: token by token, drafts",
        "accepted in part, trees, branches off earlier points, rollbacks near and far, forks, a ragged batch, a",
        f"prompt of two passes (`python scripts/architectures.py`, PyTorch {version('torch')}). Largest error allowed:",
        "0.1 % of the largest logit.",
        "",
        f"{len(rows)} types: {said}. Paths of the exact ones: "
        + ", ".join(f"{path} {count}" for path, count in paths.most_common())
        + ".",
        "",
        "What the paths mean is in [architecture.md](architecture.md#models). `laconic inspect MODEL` names that of a",
        "checkpoint.",
        "",
        "| model type | outcome | path | notes |",
        "|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: row["kind"]):
        notes = " ".join(row["reason"].replace("|", "/").split())[:220]
        lines.append(f"| `{row['kind']}` | {row['outcome']} | {row['path']} | {notes} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="model types, joined by commas; the page is then left as it is")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        print(json.dumps(one(asked.one)))
        return
    from laconic.bench.zoo.build import kinds

    rows = []
    for kind in asked.only.split(",") if asked.only else kinds():
        rows.append(apart(kind))
        print(f"{kind}: {rows[-1]['outcome']} {rows[-1]['path']} {rows[-1]['reason'][:120]}", flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")
    if not asked.only:
        PAGE.write_text(page(rows))


if __name__ == "__main__":
    main()
