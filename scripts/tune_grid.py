"""How good is the search of `laconic tune`? Every candidate answers every problem once; the table is then searched.

python scripts/tune_grid.py --n 32 --json docs/results/tune.json

The table holds real, interleaved times. For many orders of the problems successive halving picks a configuration from
the cells that it would have measured; the configuration's time over all problems is compared with the best one's.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from laconic import Engine, Limits
from laconic.bench.provenance import provenance
from laconic.bench.tasks import draw, load
from laconic.bench.tune.halving import halve
from laconic.bench.tune.space import speculation
from laconic.bench.tune.tuner import Score, Tuner


def main() -> None:
    """Measure the table, search it in many orders, print and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=32)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--draft-model", default="bundled-draft")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--orders", type=int, default=500)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    items = draw(load(None), given.n, given.seed)
    engine = Engine.load(given.model, draft=given.draft_model, drafter="none")
    tuner = Tuner(engine, items, limits=Limits(1024))
    candidates = speculation(engine)
    table: dict[str, list[Score]] = {candidate.name: [] for candidate in candidates}
    for at in range(len(items)):
        for name, score in tuner.ask(candidates, "all", at).items():
            table[name].append(score)
        sys.stderr.write(f"\r{at + 1} of {len(items)} problems")
    totals = {name: sum(score.seconds for score in scores) for name, scores in table.items()}
    best = min(totals.values())
    found = [search(table, totals, seed) for seed in range(given.orders)]
    regrets = sorted(chosen / best - 1 for chosen, _ in found)
    record = {
        "n": len(items),
        "candidates": {
            name: {
                "time": totals[name] / totals["plain"],
                "same_tokens": sum(a.tokens == b.tokens for a, b in zip(scores, table["plain"], strict=True)),
            }
            for name, scores in sorted(table.items(), key=lambda pair: totals[pair[0]])
        },
        "orders": given.orders,
        "cost": statistics.median(cost for _, cost in found) / (len(candidates) * len(items)),
        "regret": {
            "median": statistics.median(regrets),
            "p90": regrets[int(0.9 * len(regrets))],
            "worst": regrets[-1],
            "within_3_percent": sum(regret <= 0.03 for regret in regrets) / len(regrets),
        },
        "provenance": provenance(),
    }
    if given.json:
        given.json.write_text(json.dumps(record, indent=1) + "\n")
    sys.stdout.write("\n" + json.dumps({key: record[key] for key in ("n", "cost", "regret")}, indent=1) + "\n")


def search(table: dict[str, list[Score]], totals: dict[str, float], seed: int) -> tuple[float, int]:
    """Total time of what successive halving picks under one order of the problems, and how many cells it looked at."""
    problems = len(table["plain"])
    order = random.Random(seed).sample(range(problems), problems)

    def ask(names: Sequence[str], at: int) -> dict[str, float]:
        return {name: table[name][order[at]].seconds for name in names}

    ledger = halve(
        list(table), problems, ask, lambda scores: sorted(scores, key=lambda name: sum(scores[name])), keep=("plain",)
    )
    finished = [name for name, scores in ledger.scores.items() if len(scores) == problems]
    return totals[min(finished, key=lambda name: totals[name])], ledger.runs


if __name__ == "__main__":
    main()
