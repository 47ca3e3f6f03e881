"""How often promises of harm are broken, on measured answers: a pool of problems stands for all problems there are.

Every setting of a family answers the whole pool, so that its true harm there is known. Then calibration sets are drawn
from the pool with replacement, independently as the guarantee wants them, and ``laconic tune --harm``'s test chooses a
setting from each. A promise is broken where the chosen setting's true harm is not below the limit.

    python scripts/harm.py --n 700 --json docs/results/harm_draws.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from laconic import Engine, Limits
from laconic.bench.harm.families import Setting, sequence
from laconic.bench.harm.judge import Answer, all_harmed, kind_of
from laconic.bench.harm.sequence import fixed_sequence
from laconic.bench.provenance import provenance
from laconic.bench.tasks import draw, load
from laconic.intervals import wilson

SIZES = (300, 600, 1200)
"""Calibration prompts of a draw."""
LIMITS = (0.01, 0.02, 0.03)


def main() -> None:
    """Answer, draw, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=700)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--family", default="settled:price=0.002/0.004/0.0065/0.01/0.02")
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    settings = sequence(given.family, 2048)
    harm, saved = measured(settings, given.n, given.seed)
    rates = harm.mean(axis=1)
    for setting, rate, share in zip(settings, rates, saved, strict=True):
        print(f"{setting.spec:24} harms {rate:.2%} of the pool, saves {share:.1%}")
    # Limits of use, and those at which a setting's true harm is the very limit: there promises are broken most easily.
    limits = sorted({*LIMITS, *(float(rate) for rate in rates if rate > 0)})
    rows = [
        drawn(harm, saved, limit, size, given.confidence, given.draws, np.random.default_rng(given.seed))
        for limit in limits
        for size in SIZES
    ]
    for row in rows:
        print(
            f"limit {row['limit']:.4f}, n {row['n']:5}: {row['broken']:4} of {given.draws} broken, "
            f"{row['promised']:4} promised, {row['saved']:.1%} saved on average"
        )
    if given.json:
        pool = [
            {"think": setting.spec, "harm": float(rate), "saved": float(share)}
            for setting, rate, share in zip(settings, rates, saved, strict=True)
        ]
        made = {"pool": pool, "draws": rows, "settings": {key: str(value) for key, value in vars(given).items()}}
        given.json.write_text(json.dumps(made | {"provenance": provenance()}, indent=1) + "\n")


def measured(settings: Sequence[Setting], n: int, seed: int) -> tuple[np.ndarray, list[float]]:
    """Who is harmed, ``[settings, problems]``, and the share of thinking tokens that each setting saves."""
    engine = Engine.load("bundled", draft="bundled-draft", drafter="draft-model")
    items = draw(load(None), n, seed)
    kind = kind_of(items)
    requests = [engine.request(item.question, limits=Limits(2048)) for item in items]

    def answers(*think: str) -> list[Answer]:
        return list(map(Answer.of, items, engine.using(think=think).run(requests, batch=8)))

    free, saved = answers(), []
    whole = sum(answer.thinking for answer in free)
    harm = np.zeros((len(settings), len(items)), dtype=bool)
    for i, setting in enumerate(settings):
        now = answers(setting.spec)
        harm[i, all_harmed(kind, free, now)] = True
        saved.append(1 - sum(answer.thinking for answer in now) / whole)
    return harm, saved


def drawn(
    harm: np.ndarray, saved: Sequence[float], limit: float, n: int, confidence: float, draws: int,
    rng: np.random.Generator,
) -> dict[str, Any]:  # fmt: skip
    """Promises made from so many calibration sets: how many there are, how many of them are broken, what they save."""
    rates = harm.mean(axis=1)
    promised = broken = 0
    spared = 0.0
    for _ in range(draws):
        counts = harm[:, rng.integers(harm.shape[1], size=n)].sum(axis=1)
        passed = fixed_sequence(range(len(counts)), lambda i, counts=counts: int(counts[i]), n, limit, confidence)
        if not passed:
            continue
        best = max(passed, key=saved.__getitem__)
        promised += 1
        broken += bool(rates[best] >= limit)
        spared += saved[best]
    return {
        "limit": limit,
        "n": n,
        "promised": promised,
        "broken": broken,
        "broken_ci": wilson(broken, draws),
        "saved": spared / draws,
    }


if __name__ == "__main__":
    main()
