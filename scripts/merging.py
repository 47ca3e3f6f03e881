"""Accuracy and thinking tokens along merges of two models, on held-out problems, greedily.

    python scripts/merging.py LONG SHORT --json FILE linear:0 linear:0.5 linear:1 slerp:0.5 ties:0.5 dare:0.5
    python scripts/merging.py LONG SHORT --aim TEXTS ties:1 ties+aim:1 lore:0.75

SHORT was trained from LONG, which is also the base of methods that have one. A row is a method and the weight of SHORT
(``task-arithmetic``, ``ties`` and ``dare`` add the difference with that weight); weights beyond 1 go further than
training went. ``+aim`` behind a method with a base is AIM on the texts of ``--aim``. Checkpoints are written to a
folder that is thrown away.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from laconic import Engine, Limits, Sampling
from laconic.bench import tasks
from laconic.bench.provenance import provenance
from laconic.intervals import wilson
from laconic.training.merging import Aim, Plan, merge
from laconic.training.merging.plan import BASED


def main() -> int:
    """Merge, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("long")
    parser.add_argument("short")
    parser.add_argument("rows", nargs="+", metavar="METHOD:WEIGHT")
    parser.add_argument("--aim", help="Texts for rows with +aim, as laconic merge takes them.")
    parser.add_argument("--data", help="Tasks, as laconic compare takes them; else the bundled kinds.")
    parser.add_argument("--n", type=int, default=210)
    parser.add_argument("--max-tokens", type=int, default=400)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_intermixed_args()
    if given.aim is None and any("+aim:" in row for row in given.rows):
        parser.error("rows with +aim need --aim")
    torch.set_num_threads(given.threads)
    items = tasks.draw(tasks.load(given.data), given.n, 0)
    record: dict[str, Any] = {}
    sys.stdout.write("| merge | right (95 %) | thinking tokens | of LONG's |\n|---|---|---|---|\n")
    base = asked(given.long, items, given)
    for row in given.rows:
        name, _, weight = row.partition(":")
        method, plus, _ = name.partition("+aim")
        aim = Aim(given.aim) if plus else None
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "merged"
            if method in BASED:
                merge(out, [given.short], Plan(method, (float(weight),), aim=aim), base=given.long)
            else:
                merge(out, [given.long, given.short], Plan(method, (1 - float(weight), float(weight)), aim=aim))
            told = asked(str(out), items, given)
        record[row] = told
        low, high = told["interval"]
        sys.stdout.write(
            f"| `{name}` {weight} | {told['right']:.1%} ({low:.0%}-{high:.0%}) | {told['thinking']:.0f} "
            f"| {told['thinking'] / base['thinking']:.2f} |\n"
        )
        sys.stdout.flush()
    if given.json:
        setup = {"n": given.n, "max_tokens": given.max_tokens}
        found = {"setup": setup, "base": base, "rows": record, "provenance": provenance()}
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def asked(model: str, items: list[tasks.Item], given: argparse.Namespace) -> dict[str, Any]:
    """A checkpoint's answers to the problems."""
    engine = Engine.load(model)
    limits = Limits(given.max_tokens, answer_room=0)
    requests = [engine.request(item.question, sampling=Sampling(0.0), limits=limits) for item in items]
    made = engine.run(requests, batch=given.batch)
    right = sum(bool(item.judge(result.answer)) for item, result in zip(items, made, strict=True))
    return {
        "n": len(items), "right": right / len(items), "interval": list(wilson(right, len(items))),
        "thinking": sum(result.usage.thinking for result in made) / len(items),
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
