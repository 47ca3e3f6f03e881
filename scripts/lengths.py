"""Draft lengths side by side: each rule and each fixed length on the same problems, interleaved, by task and mixed.

    python scripts/lengths.py --n 70 --json docs/results/length.json
    python scripts/lengths.py --n 70 --temperature 0.8
    python scripts/lengths.py --n 28 --model CHECKPOINT --dtype bfloat16 --threads 2

A rate is tokens a second, sums over sums. For each task the best fixed length is chosen in hindsight; the mixed
workload is all tasks in turn, where one fixed length must serve them all.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from laconic import Engine, Limits, Sampling
from laconic.bench.provenance import provenance
from laconic.bench.stats import bootstrap, rotation
from laconic.bench.tasks import draw, load
from laconic.cli.options import named_dtype

FIXED = tuple(f"constant:{tokens}" for tokens in (1, 2, 4, 6, 8, 12, 16, 24, 32))
RULES = ("marginal", "svip", "svip:threshold=0.5,maximum=32", "adaedl", "confidence:threshold=0.4,maximum=20", "aimd",
         "bandit")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Run:
    """One answer: what it wrote and took."""

    kind: str
    tokens: int
    seconds: float
    passes: int
    drafted: int
    draft_passes: int


def main() -> None:
    """Measure, print the tables, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=70)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--draft-model", default="bundled-draft")
    parser.add_argument("--drafter", default="draft-model")
    parser.add_argument("--dtype")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--max-tokens", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--lengths", help="semicolon list of specs in place of all")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    base = Engine.load(given.model, draft=given.draft_model, dtype=named_dtype(given.dtype), drafter="none")
    specs = given.lengths.split(";") if given.lengths else [*FIXED, *RULES]
    engines = [(spec, base.using(drafter=given.drafter, length=spec)) for spec in specs]
    items = draw(load(None), given.n, given.seed)
    for _, engine in engines:
        engine.generate("What is 7 * 8?", limits=Limits(64))
    runs: dict[str, list[Run]] = {spec: [] for spec in specs}
    for at, item in enumerate(items):
        options: dict[str, Any] = {
            "sampling": Sampling(given.temperature, seed=at), "limits": Limits(given.max_tokens)
        }  # fmt: skip
        for spec, engine in rotation(engines, at):
            begun = time.perf_counter()
            usage = engine.generate(item.question, **options).usage
            seconds = time.perf_counter() - begun
            written = usage.thinking + usage.answer
            runs[spec].append(Run(item.kind, written, seconds, usage.target_passes, usage.drafted, usage.draft_passes))
        sys.stderr.write(f"\r{at + 1} of {len(items)} problems")
    record = tables(runs) | {"provenance": provenance(), "settings": {k: str(v) for k, v in vars(given).items()}}
    if given.json:
        given.json.write_text(json.dumps(record, indent=1) + "\n")
    show(record)


def rate(runs: Sequence[Run]) -> float:
    """Tokens a second."""
    return sum(run.tokens for run in runs) / sum(run.seconds for run in runs)


def tables(runs: dict[str, list[Run]]) -> dict[str, Any]:
    """Rates over that of the best fixed length: mixed, and by task with the best of each task."""
    fixed = [spec for spec in runs if spec.startswith("constant")]
    kinds = sorted({run.kind for run in next(iter(runs.values()))})

    def of(spec: str, kind: str | None) -> list[Run]:
        return [run for run in runs[spec] if kind in (None, run.kind)]

    def block(kind: str | None) -> dict[str, Any]:
        best = max(fixed, key=lambda spec: rate(of(spec, kind)))
        return {
            "best_fixed": best,
            "rates": {spec: rate(of(spec, kind)) / rate(of(best, kind)) for spec in runs},
            "intervals": {spec: interval(of(spec, kind), of(best, kind)) for spec in runs if spec not in fixed},
        }

    return {
        "mixed": block(None),
        "tasks": {kind: block(kind) for kind in kinds},
        "passes": {
            spec: {
                "tokens_per_pass": sum(run.tokens for run in each) / sum(run.passes for run in each),
                "drafted_per_pass": sum(run.drafted for run in each) / sum(run.passes for run in each),
                "draft_passes_per_pass": sum(run.draft_passes for run in each) / sum(run.passes for run in each),
            }
            for spec, each in runs.items()
        },
    }


def interval(mine: Sequence[Run], other: Sequence[Run]) -> tuple[float, float]:
    """95 % bootstrap interval of the ratio of two rates, problems drawn in pairs."""
    pairs = list(zip(mine, other, strict=True))
    return bootstrap(pairs, lambda some: rate([a for a, _ in some]) / rate([b for _, b in some]))


def show(record: dict[str, Any]) -> None:
    """The tables as text."""
    out = sys.stdout.write
    out(f"\nrate over the best fixed length ({record['mixed']['best_fixed']}), all tasks mixed\n")
    for spec, share in sorted(record["mixed"]["rates"].items(), key=lambda pair: -pair[1]):
        spread = record["mixed"]["intervals"].get(spec)
        shown = f" ({spread[0]:.3f}-{spread[1]:.3f})" if spread else ""
        passes = record["passes"][spec]
        out(f"  {share:.3f}{shown:16} {spec:36} {passes['tokens_per_pass']:.2f} tokens a pass\n")
    for kind, block in record["tasks"].items():
        rules = ", ".join(f"{spec} {block['rates'][spec]:.3f}" for spec in block["intervals"])
        out(f"{kind}: best fixed {block['best_fixed']}; {rules}\n")


if __name__ == "__main__":
    main()
