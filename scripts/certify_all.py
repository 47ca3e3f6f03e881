"""Is every lossless configuration exact? `laconic certify` on each of them that the models can run.

    python scripts/certify_all.py --json docs/results/certify.json

The configurations are those that `laconic tune` searches: every registered drafter with every length and shape that it
fits, found by what they declare. Exit code 1 if one of them is not exact.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch

from laconic import Engine
from laconic.bench.certify.certificate import Settings, certify
from laconic.bench.provenance import provenance
from laconic.bench.tasks import draw, load
from laconic.bench.tune.space import speculation
from laconic.cli.options import named_dtype


def main() -> None:
    """Certify each configuration, print a line for it, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=20, help="prompts")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--draft-model", default="bundled-draft")
    parser.add_argument("--dtype")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="comma list of words; configurations that have none are left out")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    prompts = [item.question for item in draw(load(None), given.n, given.seed)]
    engine = Engine.load(given.model, draft=given.draft_model, drafter="none", dtype=named_dtype(given.dtype))
    rows = []
    words = [word for word in given.only.split(",") if word]
    for candidate in speculation(engine):
        if words and not any(word in candidate.name for word in words):
            continue
        begun = time.perf_counter()
        one = Engine(engine.target, engine.text, candidate.methods, engine.draft_model)
        record = certify(one, prompts, Settings(seed=given.seed))
        rows.append(
            {
                "configuration": candidate.name,
                "verdict": record["verdict"],
                **{audit: record[audit]["verdict"] for audit in ("greedy", "sampled", "rollback")},
                "minutes": (time.perf_counter() - begun) / 60,
                "digest": record["digest"],
            }
        )
        sys.stdout.write(f"{rows[-1]['verdict']:14} {candidate.name}\n")
        sys.stdout.flush()
        if given.json:
            table = {"n": len(prompts), "configurations": rows, "provenance": provenance()}
            given.json.write_text(json.dumps(table, indent=1) + "\n")
    if any(row["verdict"] != "exact" for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
