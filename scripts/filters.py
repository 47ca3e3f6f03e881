"""What top-k and top-p cost a row of a large vocabulary, against sorting the vocabulary; interleaved, on random logits.

Milliseconds are the least of all rounds, which other work on the machine disturbs least; ratios the median of pairs.
Each version runs once untimed before it is timed, since the other leaves memory in another state than it finds in a row
of its own calls.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from laconic.bench.provenance import provenance
from laconic.speculation.draws import warp
from laconic.types import Sampling

SAMPLINGS = {
    "temperature alone": Sampling(0.6),
    "top-k 20": Sampling(0.6, top_k=20),
    "top-k 20, top-p 0.95": Sampling(0.6, top_k=20, top_p=0.95),
    "top-p 0.95": Sampling(0.6, top_p=0.95),
}
SPREADS = {"sure": 4.0, "doubtful": 1.0}
"""Standard deviation of the logits: a nucleus of a few tokens, and one of tens of thousands."""


def sorted_whole(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """The slow, obvious version."""
    logits = logits / sampling.temperature
    if sampling.top_k:
        kth = logits.topk(sampling.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < kth, -torch.inf)
    probs = logits.softmax(-1)
    if sampling.top_p < 1:
        ranked, order = probs.sort(dim=-1, descending=True, stable=True)
        before = ranked.cumsum(-1).roll(1, -1)
        before[..., 0] = 0
        drop = before >= sampling.top_p
        probs = probs.masked_fill(drop.scatter(-1, order, drop), 0.0)
    return probs / probs.sum(-1, keepdim=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocab", type=int, default=151_936)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for kind, spread in SPREADS.items():
        logits = spread * torch.randn(asked.rows, asked.vocab, generator=torch.Generator().manual_seed(0))
        for name, sampling in SAMPLINGS.items():
            seconds: dict[str, list[float]] = {"warp": [], "sorted": []}
            if not torch.equal(warp(logits, sampling), sorted_whole(logits, sampling)):
                raise SystemExit(f"{kind}, {name}: not the same distribution")
            for _ in range(asked.rounds):
                for version, make in (("warp", warp), ("sorted", sorted_whole)):
                    make(logits, sampling)
                    begun = time.perf_counter()
                    make(logits, sampling)
                    seconds[version].append(time.perf_counter() - begun)
            fast, slow = (1000 * min(seconds[version]) / asked.rows for version in ("warp", "sorted"))
            ratios = [a / b for a, b in zip(seconds["sorted"], seconds["warp"], strict=True)]
            row = {"rows": kind, "sampling": name, "milliseconds": fast, "sorted_milliseconds": slow,
                   "ratio": statistics.median(ratios)}  # fmt: skip
            found.append(row)
            print(f"{kind}, {name}: {fast:.2f} ms a row, by sorting {slow:.2f} ms, {row['ratio']:.1f} times")
    if asked.json:
        record = {"vocab": asked.vocab, "rows": asked.rows, "rounds": asked.rounds, "found": found,
                  "provenance": provenance()}  # fmt: skip
        asked.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
