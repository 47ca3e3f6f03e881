"""What a decoding pass costs over a full cache, over reduced ones and over one of four bits.

    python scripts/kv_passes.py --model smollm2 --length 8000 --threads 2 --kv snapkv:budget=1024 --json FILE

Ratios of interleaved passes. One text of random tokens is read whole; each policy is given all of it and says what
stays. ``full`` is the cache as it was written. Bytes are those that the cache holds.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from pathlib import Path
from typing import Any, cast

import torch

import laconic.methods  # noqa: F401  (fills the registry)
from laconic.bench.provenance import provenance
from laconic.kv.base import KV, Telling
from laconic.models.base import chain
from laconic.models.causal_lm import CausalLM
from laconic.models.load import load_model
from laconic.policy import registry


def main() -> None:
    """Measure, print a table, write JSON."""
    asked = arguments()
    torch.set_num_threads(asked.threads)
    model = load_model(asked.model, dtype=getattr(torch, asked.dtype))
    dice = random.Random(0)
    tokens = [dice.randrange(model.vocab_size) for _ in range(asked.length)]
    full = model.open()
    begun = time.perf_counter()
    model.prefill(full, tokens)
    print(f"{model.path}: {asked.length} tokens read in {time.perf_counter() - begun:.0f} s", flush=True)
    slots: dict[str, Any] = {"full": full}
    for spec in asked.kv:
        policy = cast(KV, registry.build("kv", spec))
        told = Telling(tokens, len(tokens), None)
        looks = tokens[-policy.looks :] if policy.looks else ()
        past = policy.view(told, model.look(full, looks), full.length)
        if past is None:
            raise SystemExit(f"{spec} takes nothing away from {asked.length} tokens")
        slots[spec] = model.view(past)
        model.follow(slots[spec], full)
    rows = measure(model, slots, asked.widths, asked.rounds)
    for row in rows:
        low, high = row["spread"]
        print(
            f"{row['width']:3d} nodes  {row['cache']:40s} time {row['time']:.3f} ({low:.2f}-{high:.2f})  "
            f"bytes {row['bytes']:.3f}"
        )
    asked.json.write_text(json.dumps({"rows": rows, "path": model.path, "provenance": provenance()}, indent=1) + "\n")


def measure(model: CausalLM, slots: dict[str, Any], widths: list[int], rounds: int) -> list[dict[str, Any]]:
    """Times and bytes as shares of the full cache's, round by round in another order."""
    rows = []
    for width in widths:
        seconds: dict[str, list[float]] = {name: [] for name in slots}
        names = list(slots)
        for turn in range(rounds + 2):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                begun = time.perf_counter()
                model.score([chain(range(5, 5 + width))], [slots[name]])
                if turn >= 2:
                    seconds[name].append(time.perf_counter() - begun)
        for name, slot in slots.items():
            shares = sorted(a / b for a, b in zip(seconds[name], seconds["full"], strict=True))
            rows.append(
                {
                    "width": width,
                    "cache": name,
                    "time": statistics.median(shares),
                    "spread": [shares[len(shares) // 10], shares[-1 - len(shares) // 10]],
                    "of_narrowest_full": statistics.median(seconds[name]) / narrowest(rows, seconds),
                    "bytes": slot.nbytes / slots["full"].nbytes,
                    "nbytes": slot.nbytes,
                    "median_seconds": statistics.median(seconds[name]),
                }
            )
    return rows


def narrowest(rows: list[dict[str, Any]], seconds: dict[str, list[float]]) -> float:
    """Median seconds of the narrowest pass over the full cache."""
    return float(rows[0]["median_seconds"] if rows else statistics.median(seconds["full"]))


def arguments() -> argparse.Namespace:
    """What is to be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--length", type=int, default=8000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--widths", type=int, nargs="+", default=[1, 5, 8])
    parser.add_argument("--kv", nargs="+", default=["snapkv:budget=1024", "quantised"])
    parser.add_argument("--json", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
