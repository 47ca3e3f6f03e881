"""Verifiers side by side on the bundled pair: tokens a pass, and what happens to the answers where they are lossy.

Couplings are lossless; relaxations let more tokens stand, transforms aim at another distribution, and both are asked
how many answers stay right. All draft with the same model, on the same problems with the same seeds.

    laconic fit judge-head out/judge
    python scripts/verify.py --n 210 --seed 1 --temperature 0.8 --judge out/judge --json verify_sampled.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from laconic import Engine, Limits, Request, Result, Sampling
from laconic.bench.provenance import provenance
from laconic.bench.stats import bootstrap_ratio
from laconic.bench.tasks import Item, draw, load
from laconic.intervals import wilson

COUPLINGS = ("match", "speculative-sampling", "specinfer", "k-seq", "importance", "block", "traversal")
RELAXATIONS = (
    *("typical", "typical:delta=0.1", "epsilon:0.1", "epsilon:0.2", "top-k:k=2", "top-k:k=3"),
    *("lenience:0.5", "lenience:0.1", "entropy-gate:0.1", "entropy-gate:0.2"),
)
THRESHOLDS = (0.5, 0.8, 0.9, 0.95, 0.98)
"""Of the judge, where there is one."""
TRANSFORMS = ("cascade", "cascade:rule=chow", "ensemble", "contrastive")


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=210)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--length", default="constant:8", help="draft length of all rows")
    parser.add_argument("--max-tokens", type=int, default=600)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--judge", metavar="HEAD", help="a head of judge-head (laconic fit judge-head)")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    items = draw(load(None), given.n, given.seed)
    rows: dict[str, Any] = {}
    kept: list[Result] = []
    for spec in specs(given.judge):
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{spec:<70}")
        engine = Engine.load(
            "bundled", draft="bundled-draft", drafter="draft-model", length=given.length, verifier=spec
        )
        results = engine.run(asked(engine, items, given), batch=given.batch)
        kept = kept or results
        rows[spec] = row(items, results, kept)
        show(spec, rows[spec])
    if given.json:
        settings = {key: str(value) for key, value in vars(given).items()}
        given.json.write_text(
            json.dumps({"rows": rows, "settings": settings, "provenance": provenance()}, indent=1) + "\n"
        )


def specs(judge: str | None) -> list[str]:
    """All verifiers, the first of which the others are compared with."""
    relaxed = [*RELAXATIONS, *(f"judge-head:head={judge},threshold={bar}" for bar in THRESHOLDS if judge)]
    return [
        *COUPLINGS,
        *(f"match:relax=[{spec}]" for spec in relaxed),
        *(f"match:transform=[{spec}]" for spec in TRANSFORMS),
    ]


def asked(engine: Engine, items: Sequence[Item], given: argparse.Namespace) -> list[Request]:
    """One request a problem; equal seeds for every verifier."""
    limits = Limits(given.max_tokens)
    return [
        engine.request(item.question, limits=limits, sampling=Sampling(given.temperature, seed=i))
        for i, item in enumerate(items)
    ]


def row(items: Sequence[Item], results: Sequence[Result], first: Sequence[Result]) -> dict[str, Any]:
    """Right answers, tokens, tokens a pass, and the same beside the first verifier's; intervals are 95 %."""
    right = sum(bool(item.judge(r.answer)) for item, r in zip(items, results, strict=True))
    before = [bool(item.judge(r.answer)) for item, r in zip(items, first, strict=True)]
    paired = [(float(bool(item.judge(r.answer))) - b, 1.0) for item, r, b in zip(items, results, before, strict=True)]
    counted = [(float(r.usage.generated), float(r.usage.target_passes)) for r in results]
    return {
        "n": len(items),
        "right": right,
        "share_right": right / len(items),
        "share_right_95": wilson(right, len(items)),
        "points_gained": 100 * sum(d for d, _ in paired) / len(items),
        "points_gained_95": [100 * x for x in bootstrap_ratio(paired) or (0, 0)],
        "tokens": sum(r.usage.generated for r in results) / len(items),
        "tokens_per_pass": sum(t for t, _ in counted) / sum(p for _, p in counted),
        "tokens_per_pass_95": bootstrap_ratio(counted),
        "acceptance": sum(r.usage.accepted for r in results) / max(sum(r.usage.drafted for r in results), 1),
        "same_text": sum(r.tokens == f.tokens for r, f in zip(results, first, strict=True)),
        "lossless": all(r.lossless for r in results),
    }


def show(spec: str, found: dict[str, Any]) -> None:
    """One line."""
    low, high = found["points_gained_95"]
    print(
        f"{spec:62} {found['share_right']:6.1%} {found['points_gained']:+5.1f} ({low:+.1f} to {high:+.1f})"
        f"  {found['tokens']:5.0f} tokens  {found['tokens_per_pass']:5.2f} a pass"
        f"  {found['acceptance']:5.1%} accepted  same {found['same_text']}",
        flush=True,
    )


if __name__ == "__main__":
    main()
