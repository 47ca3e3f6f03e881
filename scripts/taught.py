"""What a model has learned from transformed traces: accuracy and length after training, beside a random subset.

    python scripts/taught.py attempts.jsonl docs/recipes/bundled_sft.toml FOLDER --rows 256 --json FILE \\
        rft shortest sbt-exact

Each transform's rows are cut to the same number at random (``random-subset``), and trained on by ``laconic train`` in a
folder of its own; those that have ended are not run again. ``rft`` keeps every right trace as it is: with it the random
subset is the control that says what training on that many of one's own right answers does by itself.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from laconic.bench.provenance import provenance
from laconic.intervals import wilson


def main() -> int:
    """Convert, train, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("specs", nargs="+")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--json", type=Path)
    given = parser.parse_intermixed_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    rows = [taught(given, spec, seed) for seed in given.seeds for spec in given.specs]
    sys.stdout.write("| rows by | seed | rows | tokens of a row | right (95 %) | thinking tokens, of the base's |\n")
    sys.stdout.write("|---|---|---|---|---|---|\n")
    for row in rows:
        low, high = wilson(round(row["last"]["right"] * row["last"]["n"]), row["last"]["n"])
        sys.stdout.write(
            f"| `{row['spec']}` | {row['seed']} | {row['rows']} | {row['tokens']:.0f} | {row['last']['right']:.1%} "
            f"({low:.0%}-{high:.0%}) | {row['last']['thinking'] / row['base']['thinking']:.2f} |\n"
        )
    if given.json:
        record = {"rows": rows, "recipe": given.recipe.read_text("utf-8"), "provenance": provenance()}
        given.json.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    return 0


def taught(given: argparse.Namespace, spec: str, seed: int) -> dict[str, Any]:
    """One transform: its rows, and the evaluations before and after."""
    name = re.sub(r"[^a-z0-9.-]+", "_", spec)
    data, out = given.folder / f"{name}.{seed}.jsonl", given.folder / f"{name}.{seed}"
    if not data.exists():
        every = given.folder / f"{name}.jsonl"
        if not every.exists():
            laconic("traces", spec, given.recording, every, "--model", given.model)
        lines = every.read_text("utf-8").splitlines(keepends=True)
        random.Random(seed).shuffle(lines)
        data.write_text("".join(lines[: given.rows]), "utf-8")
    if not (out / "model").exists():
        table = "dpo" if '"rejected"' in data.read_text("utf-8") else "sft"
        laconic("train", given.recipe, out, "--set", f'{table}.data="{data}"', "--set", f"seed={seed}")
    known = [json.loads(line) for line in (out / "log.jsonl").read_text("utf-8").splitlines()]
    known = [each for each in known if "evaluation" in each]
    rows = [json.loads(line) for line in data.read_text("utf-8").splitlines()]
    return {
        "spec": spec, "seed": seed, "rows": len(rows), "base": known[0], "last": known[-1],
        "tokens": sum(row["tokens_after"] for row in rows) / len(rows),
        "before": sum(row["tokens_before"] for row in rows) / len(rows),
    }  # fmt: skip


def laconic(*words: Any) -> None:
    """A command of laconic's; what it says is shown if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "laconic", *map(str, words)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"laconic {' '.join(map(str, words))}: {done.stderr[-800:]}")


if __name__ == "__main__":
    sys.exit(main())
