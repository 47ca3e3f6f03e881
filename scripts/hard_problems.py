"""Problems that the bundled reasoner gets wrong, with worked solutions: for rollout plans that have a use for these.

    python scripts/hard_problems.py hard.jsonl --n 700

Products of a number of two digits and one of three, beyond the range that the model was trained on (a product below
5000). The solutions are those of its own teaching traces, without planted slips.
"""

from __future__ import annotations

import argparse
import json
import random
from itertools import islice
from pathlib import Path

import reasoning_gym

from laconic.models.reasoner.problems import Problem
from laconic.models.reasoner.traces import trace

CONFIG = {
    "min_terms": 2, "max_terms": 2, "min_digits": 2, "max_digits": 3, "operators": ("*",), "allow_negation": False,
    "allow_parentheses": False, "format_style": "natural",
}  # fmt: skip


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--n", type=int, default=700)
    parser.add_argument("--seed", type=int, default=5)
    given = parser.parse_args()
    lines: dict[str, str] = {}
    data = reasoning_gym.create_dataset("basic_arithmetic", size=2**30, seed=given.seed, **CONFIG)
    for entry in islice(iter(data), 100 * given.n):
        sides = sorted(int(side) for side in entry["metadata"]["expression"].split("*"))
        if len(lines) == given.n:
            break
        if not 12 < sides[0] < 100 <= sides[1] or sides[0] * sides[1] < 5000 or not all(side % 10 for side in sides):
            continue
        problem = Problem("products", entry["question"], str(entry["answer"]), 3, held_out=False, entry=entry)
        made = next(one for seed in range(1000) if not (one := trace(problem, random.Random(seed))).slipped)
        row = {"question": problem.question, "answer": problem.answer, "solution": "\n\n".join(made.steps)}
        lines[f"{sides}"] = json.dumps(row) + "\n"
    given.out.write_text("".join(lines.values()), "utf-8")


if __name__ == "__main__":
    main()
