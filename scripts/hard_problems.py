"""Problems that the bundled reasoner gets wrong, with worked solutions: for rollout plans that have a use for these.

    python scripts/hard_problems.py hard.jsonl --n 700

Sums and differences of four numbers of three digits: one step more than the model was trained on. The solutions are
those of its own teaching traces, without planted slips.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import reasoning_gym

from laconic.models.reasoner.problems import Problem
from laconic.models.reasoner.traces import trace


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--n", type=int, default=700)
    parser.add_argument("--seed", type=int, default=5)
    given = parser.parse_args()
    sizes = {"min_terms": 4, "max_terms": 4, "min_digits": 3, "max_digits": 3}
    with given.out.open("w", encoding="utf-8") as out:
        for entry in reasoning_gym.create_dataset("chain_sum", size=given.n, seed=given.seed, **sizes):
            problem = Problem("chain_sum", entry["question"], entry["answer"], 3, held_out=False, entry=entry)
            made = next(one for seed in range(1000) if not (one := trace(problem, random.Random(seed))).slipped)
            row = {"question": problem.question, "answer": problem.answer, "solution": "\n\n".join(made.steps)}
            out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
