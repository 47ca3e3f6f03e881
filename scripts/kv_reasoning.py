"""What eviction costs a reasoner: right answers and bytes of cache, policy by policy, on its longest problems.

    python scripts/kv_reasoning.py --model bundled --n 200 --of 600 --threads 1 --json FILE KV ...

``--of`` problems are answered with the full cache first, and the ``--n`` with the longest thoughts are kept. Each
policy answers all of them in batches, drafting as given, which changes no token. Bytes are the most that a request's
cache took, as a share of what the full cache takes for the same problem; a shorter thought is part of that.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from laconic import Engine, Limits, Sampling
from laconic.bench.provenance import provenance
from laconic.bench.tasks import draw, load
from laconic.intervals import wilson


def main() -> None:
    """Measure, print a table, write JSON."""
    asked = arguments()
    torch.set_num_threads(asked.threads)
    engine = Engine.load(
        asked.model, dtype=getattr(torch, asked.dtype), drafter=asked.drafter, length=asked.length, think=()
    )
    items = draw(load(asked.tasks), asked.of, seed=asked.seed)
    options = {
        "sampling": Sampling(temperature=asked.temperature, seed=asked.seed),
        "limits": Limits(max_new_tokens=asked.max_tokens),
    }
    rows: dict[str, list[dict[str, Any]]] = {}
    for spec in ["full", *asked.kv]:
        begun = time.perf_counter()
        mine = engine.using(kv=spec)
        results = mine.generate_many([item.question for item in items], batch=asked.batch, **options)
        rows[spec] = [
            {
                "right": bool(item.judge(result.answer)),
                "thinking": result.usage.thinking,
                "bytes": result.cache_bytes,
                "tokens": len(result.tokens),
            }
            for item, result in zip(items, results, strict=True)
        ]
        if spec == "full":
            longest = sorted(range(len(items)), key=lambda i: -rows["full"][i]["tokens"])[: asked.n]
            items = [items[i] for i in longest]
            rows["full"] = [rows["full"][i] for i in longest]
        print(told(spec, rows[spec], rows["full"]), f"{time.perf_counter() - begun:.0f} s", flush=True)
        report(asked, rows)


def report(asked: argparse.Namespace, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Write what is known so far."""
    found = {spec: summary(mine, rows["full"]) for spec, mine in rows.items()}
    setup = {name: value for name, value in vars(asked).items() if name not in ("json", "tasks")}
    record = {"setup": setup, "rows": found, "items": rows, "provenance": provenance()}
    asked.json.write_text(json.dumps(record, separators=(",", ":")) + "\n")


def summary(mine: list[dict[str, Any]], full: list[dict[str, Any]]) -> dict[str, Any]:
    """Accuracy with its interval, bytes and tokens as shares of the full cache's, and what changed."""
    right = sum(row["right"] for row in mine)
    return {
        "n": len(mine),
        "accuracy": right / len(mine),
        "accuracy_ci": list(wilson(right, len(mine))),
        "bytes_of_full": statistics.mean(a["bytes"] / b["bytes"] for a, b in zip(mine, full, strict=True)),
        "tokens_of_full": sum(row["tokens"] for row in mine) / sum(row["tokens"] for row in full),
        "won": sum(a["right"] and not b["right"] for a, b in zip(mine, full, strict=True)),
        "lost": sum(b["right"] and not a["right"] for a, b in zip(mine, full, strict=True)),
    }


def told(spec: str, mine: list[dict[str, Any]], full: list[dict[str, Any]]) -> str:
    """A line for people."""
    s = summary(mine, full)
    low, high = s["accuracy_ci"]
    return (
        f"{spec:50s} n {s['n']} right {s['accuracy']:.1%} ({low:.0%}-{high:.0%}) bytes {s['bytes_of_full']:.3f} "
        f"tokens {s['tokens_of_full']:.2f} won {s['won']} lost {s['lost']}"
    )


def arguments() -> argparse.Namespace:
    """What is to be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kv", nargs="+")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--drafter", default="suffix")
    parser.add_argument("--length", default="marginal")
    parser.add_argument("--tasks", default=None)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--of", type=int, default=600)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--max-tokens", type=int, default=900)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
