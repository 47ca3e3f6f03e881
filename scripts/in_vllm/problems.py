"""Problems of the bundled reasoner as JSON lines, for an environment that cannot make them (run in laconic's own):

python scripts/in_vllm/problems.py --n 420 --seed 1 problems.jsonl
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from laconic.bench.tasks import draw, load


def main() -> None:
    """Write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=420)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    items = draw(load(None), given.n, given.seed)
    lines = [json.dumps({"id": item.id, "question": item.question, "answer": item.answer}) for item in items]
    given.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
