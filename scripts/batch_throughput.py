"""Batches against single requests: throughput of interleaved blocks, and whether the outputs are the same.

python scripts/batch_throughput.py --n 112 --batch 8 --json docs/results/batch.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from laconic import Engine, Limits
from laconic.bench.provenance import provenance
from laconic.bench.stats import bootstrap_median, rotation
from laconic.bench.tasks import draw, load
from laconic.cli.defaults import DEFAULT

BLOCK = 16
"""Problems per timed block."""


def main() -> None:
    """Run blocks of problems one by one and in batches, plainly and with the default configuration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=112)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    items = draw(load(None), given.n, given.seed)
    plain = Engine.load("bundled", draft="bundled-draft", drafter="none", verifier="match")
    ours = plain.using(drafter=DEFAULT.drafter, length=DEFAULT.length, think=DEFAULT.think)
    variants = [
        (name, engine, batch) for name, engine in (("plain", plain), ("laconic", ours)) for batch in (1, given.batch)
    ]
    requests = [plain.request(item.question, limits=Limits(1024)) for item in items]
    for _, engine, batch in variants:
        engine.run(requests[:2], batch=batch)
    seconds: dict[tuple[str, int], list[float]] = {(name, batch): [] for name, _, batch in variants}
    outputs: dict[tuple[str, int], list[tuple[int, ...]]] = {key: [] for key in seconds}
    for turn, at in enumerate(range(0, len(requests), BLOCK)):
        for name, engine, batch in rotation(variants, turn):
            begun = time.perf_counter()
            results = engine.run(requests[at : at + BLOCK], batch=batch)
            seconds[name, batch].append(time.perf_counter() - begun)
            outputs[name, batch] += [result.tokens for result in results]
    record: dict[str, object] = {"n": len(items), "batch": given.batch, "provenance": provenance()}
    for name in ("plain", "laconic"):
        one, many = seconds[name, 1], seconds[name, given.batch]
        gains = [a / b for a, b in zip(one, many, strict=True)]
        same = sum(a == b for a, b in zip(outputs[name, 1], outputs[name, given.batch], strict=True))
        record[name] = {
            "throughput_gain": statistics.median(gains),
            "throughput_gain_ci": bootstrap_median(gains),
            "throughput_gain_total": sum(one) / sum(many),
            "identical": same,
        }
        gain = statistics.median(gains)
        print(f"{name}: batch of {given.batch} {gain:.2f} times the throughput, {same}/{len(items)} identical")
    if given.json:
        given.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
