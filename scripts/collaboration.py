"""Two models at the same problems, under several collaboration policies, one straight after the other.

    python scripts/collaboration.py --large bundled --small bundled-draft --n 400 --json out.json \\
        spec-reason:threshold=7,by=likelihood foreal reward-guided:judge=[equations]

Each model alone always takes part, and the large one with the small one as its draft model (``token-level``). ``share``
is the large model's part of the thought's tokens that stand, ``passes`` are its passes relative to its own alone,
one that several requests share counted once, ``time`` all time relative to that. Problems are drawn as ``laconic
compare`` draws them; an order that rotates keeps what ran before from helping anyone.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

import laconic.methods  # noqa: F401  (fills the registry)
from laconic import Engine, Limits, Sampling
from laconic.bench.provenance import provenance
from laconic.bench.stats import bootstrap_ratio, rotation
from laconic.bench.tasks import Item, draw
from laconic.bench.tasks import load as tasks
from laconic.cli.options import named_dtype, settle
from laconic.collaboration import Pair
from laconic.intervals import wilson

TOKENS = "token-level"
ALWAYS = ("alone:large", "alone:small", TOKENS)


def main() -> int:
    """Answer, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specs", nargs="*")
    parser.add_argument("--large", default="bundled")
    parser.add_argument("--small", default="bundled-draft")
    parser.add_argument("--dtype")
    parser.add_argument("--data")
    parser.add_argument("--n", type=int, default=400)
    parser.add_argument("--temperature", type=float, default=0.6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-tokens", type=int, default=600)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--drafter", default="suffix")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path, help="also an SVG: accuracy against the large model's passes")
    parser.add_argument("--draw", type=Path, nargs="+", help="only draw: the policies of these JSON files")
    given = parser.parse_args()
    if not given.draw and given.json is None:
        parser.error("name a file for the numbers (--json)")
    if given.draw:
        told = {k: v for path in given.draw for k, v in json.loads(path.read_text())["policies"].items()}
        given.figure.write_text(figure(told), encoding="utf-8")
        return 0
    settle(given.threads, given.large)
    chosen: dict[str, Any] = {"drafter": given.drafter}
    if given.drafter == "none":
        chosen["length"] = "constant"
    dtype = named_dtype(given.dtype) if given.dtype else None
    pair = Pair(*(Engine.load(name, dtype=dtype, **chosen) for name in (given.large, given.small)))
    drafted = Engine.load(given.large, dtype=dtype, draft=given.small, drafter="draft-model")
    answering = {spec: Pair(drafted, pair.small) if spec == TOKENS else pair for spec in [*ALWAYS, *given.specs]}
    sampling, limits = Sampling(given.temperature, seed=given.seed), Limits(given.max_tokens)
    specs = [*ALWAYS, *given.specs]
    rows: dict[str, list[dict[str, Any]]] = {spec: [] for spec in specs}
    for spec in specs:  # the first passes of a process are slow
        answering[spec].answer("What is 2 + 3?", _policy(spec), sampling=sampling, limits=limits)
    items = draw(tasks(given.data), given.n, given.seed)
    for turn, item in enumerate(items):
        for spec in rotation(specs, turn):
            rows[spec].append(_row(answering[spec], spec, item, sampling, limits))
        if (turn + 1) % 20 == 0:
            sys.stderr.write(f"{turn + 1} of {len(items)} problems\n")
            _write(given, rows)
    told = _write(given, rows)
    sys.stdout.write(_table(told))
    if given.figure is not None:
        given.figure.write_text(figure(told), encoding="utf-8")
    return 0


def figure(told: dict[str, Any]) -> str:
    """Accuracy against the large model's passes, each policy a point; the front is joined by a line."""
    points = sorted((row["large_passes_of_large"], row["accuracy"], spec) for spec, row in told.items())
    front = [p for at, p in enumerate(points) if p[1] > max((before[1] for before in points[:at]), default=-1)]
    canvas = Figure(figsize=(8.5, 5.5), layout="constrained")
    axes = canvas.subplots()
    axes.plot([p[0] for p in front], [p[1] for p in front], color="#1f6f8b", linewidth=1)
    for passes, right, spec in points:
        low, high = told[spec]["accuracy_ci"]
        axes.errorbar([passes], [right], [[right - low], [high - right]], fmt="o", markersize=4, color="#1f6f8b")
        axes.annotate(spec, (passes, right), xytext=(4, 3), textcoords="offset points", fontsize=6)
    axes.set_xlabel("passes of the large model, of its own alone")
    axes.set_ylabel("right (95 %)")
    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "laconic"}):  # text as text, and the same bytes each time
        canvas.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def _policy(spec: str) -> str:
    return "alone:large" if spec == TOKENS else spec


def _row(pair: Pair, spec: str, item: Item, sampling: Sampling, limits: Limits) -> dict[str, Any]:
    begun, made = time.perf_counter(), {side: getattr(pair, side).target.passes for side in ("large", "small")}
    found = pair.answer(item.question, _policy(spec), sampling=sampling, limits=limits)
    used = {side: getattr(found, side) for side in ("large", "small")}
    passes = {side: getattr(pair, side).target.passes - before for side, before in made.items()}
    return {
        "item": item.id,
        "right": bool(item.judge(found.result.answer)),
        "share": found.share,
        "large_tokens": used["large"].thinking + used["large"].answer,
        "small_tokens": sum(p.tokens for p in found.pieces if p.side == "small"),
        "refused": found.refused,
        "large_passes": passes["large"],
        "small_passes": passes["small"],
        "seconds": time.perf_counter() - begun,
    }


def _write(given: argparse.Namespace, rows: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    told = {spec: _told(mine, rows["alone:large"]) for spec, mine in rows.items() if mine}
    setup = {name: value for name, value in vars(given).items() if name not in ("json", "data", "figure", "draw")}
    record = {"setup": setup, "policies": told, "items": rows, "provenance": provenance()}
    given.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return told


def _told(rows: list[dict[str, Any]], large: list[dict[str, Any]]) -> dict[str, Any]:
    n, right = len(rows), sum(row["right"] for row in rows)
    told: dict[str, Any] = {"n": n, "accuracy": right / n, "accuracy_ci": list(wilson(right, n))}
    for name in ("share", "large_tokens", "small_tokens", "refused", "large_passes", "small_passes", "seconds"):
        told[name] = sum(row[name] for row in rows) / n
    for name in ("large_passes", "seconds"):
        pairs = [(mine[name], other[name]) for mine, other in zip(rows, large, strict=False)]
        told[f"{name}_of_large"] = sum(a for a, _ in pairs) / sum(b for _, b in pairs)
        told[f"{name}_of_large_ci"] = bootstrap_ratio(pairs)
    told["won"] = sum(a["right"] and not b["right"] for a, b in zip(rows, large, strict=False))
    told["lost"] = sum(b["right"] and not a["right"] for a, b in zip(rows, large, strict=False))
    return told


def _table(told: dict[str, Any]) -> str:
    lines = [f"{'policy':44s} {'right':>22s} {'share':>6s} {'passes':>18s} {'time':>18s} {'refused':>7s} won lost"]
    for spec, row in told.items():
        low, high = row["accuracy_ci"]
        passes, seconds = row["large_passes_of_large_ci"], row["seconds_of_large_ci"]
        lines.append(
            f"{spec:44s} {row['accuracy']:7.1%} ({low:5.1%}-{high:5.1%}) {row['share']:6.1%} "
            f"{row['large_passes_of_large']:6.3f} ({passes[0]:.2f}-{passes[1]:.2f}) "
            f"{row['seconds_of_large']:6.3f} ({seconds[0]:.2f}-{seconds[1]:.2f}) {row['refused']:7.1f} "
            f"{row['won']:3d} {row['lost']:4d}"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
