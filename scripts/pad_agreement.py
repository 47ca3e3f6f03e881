"""Does a cost-padded checkpoint write what the original writes?

    laconic pad bundled out/pad03 --parameters 0.3B --dtype bfloat16
    python scripts/pad_agreement.py out/pad03 --dtypes bfloat16 --n 100 --json docs/results/pad.json

Both models answer the same problems, greedily and with speculation, in each format. In the format in which the
checkpoint was written the texts should be the same. One that was written in bfloat16 holds rounded weights and is
another model in float32.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from laconic import Engine, Limits, Result
from laconic.bench.provenance import provenance
from laconic.bench.tasks import Item, draw, load
from laconic.intervals import wilson


def main() -> None:
    """Answer, compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("padded")
    parser.add_argument("--original", default="bundled")
    parser.add_argument("--draft-model", default="bundled-draft")
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-tokens", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtypes", default="float32,bfloat16", help="comma list")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    items = draw(load(None), given.n, given.seed)
    dtypes = given.dtypes.split(",")
    answers = {
        (name, dtype): answer(model, given, getattr(torch, dtype), items)
        for name, model in (("original", given.original), ("padded", given.padded))
        for dtype in dtypes
    }
    record: dict[str, Any] = {"n": len(items), "models": {}}
    for (name, dtype), results in answers.items():
        first = answers["original", dtype]
        right = sum(bool(item.judge(result.answer)) for item, result in zip(items, results, strict=True))
        record["models"][f"{name}, {dtype}"] = {
            "right": right,
            "accuracy_ci": wilson(right, len(items)),
            "same_tokens_as_original": sum(a.tokens == b.tokens for a, b in zip(results, first, strict=True)),
            "same_answer": sum(a.answer == b.answer for a, b in zip(results, first, strict=True)),
            "tokens": sum(len(result.tokens) for result in results),
        }
    record["provenance"] = provenance()
    if given.json:
        given.json.write_text(json.dumps(record, indent=1) + "\n")
    sys.stdout.write(json.dumps(record["models"], indent=1) + "\n")


def answer(model: str, given: argparse.Namespace, dtype: torch.dtype, items: list[Item]) -> list[Result]:
    """Every problem, greedily."""
    engine = Engine.load(model, draft=given.draft_model, dtype=dtype, drafter="draft-model")
    done = []
    for item in items:
        done.append(engine.generate(item.question, limits=Limits(given.max_tokens)))
        sys.stderr.write(f"\r{model} {dtype}: {len(done)} of {len(items)}")
    return done


if __name__ == "__main__":
    main()
