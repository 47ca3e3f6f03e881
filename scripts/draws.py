"""What it costs to draw the target's token, by vocabulary and filters: microseconds on one thread.

    python scripts/draws.py

``drawn`` is the one token of one row, as the verifier ``match`` draws it; ``every row`` makes the distributions of all
of a draft's 16 rows first, and times every token of the vocabulary, which gives the same token. Medians of runs in
turn; the rows are normal at random, as peaked as ``--spread`` says.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from laconic import Sampling
from laconic.speculation.draws import Draws, warp

VOCABULARIES = (49152, 151936, 262144)
FILTERS = {
    "none": Sampling(1.0),
    "top-k 20, top-p 0.95": Sampling(0.6, top_k=20, top_p=0.95),
    "top-p 0.95": Sampling(0.7, top_p=0.95),
}
ROWS = 16


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spread", type=float, default=4.0)
    parser.add_argument("--runs", type=int, default=15)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| vocabulary | filters | drawn | every row | times |")
    print("|---|---|---|---|---|")
    for vocabulary in VOCABULARIES:
        rows = torch.randn(ROWS, vocabulary, generator=torch.Generator().manual_seed(0)) * given.spread
        for name, sampling in FILTERS.items():
            draws, taken = Draws(3), set()

            def one() -> int:
                return draws.draw(rows[0], sampling, 17)  # noqa: B023  (called at once)

            def every() -> int:
                tokens, waits = draws.waits(warp(rows, sampling)[0], 17)  # noqa: B023
                return int(tokens[waits.argmin()])

            costs: dict[str, list[float]] = {"one": [], "every": []}
            for _ in range(given.runs):
                for label, way in (("one", one), ("every", every)):
                    took, token = timed(way)
                    costs[label].append(took)
                    taken.add(token)
            assert len(taken) == 1
            one_us, every_us = (1e6 * statistics.median(costs[label]) for label in ("one", "every"))
            print(f"| {vocabulary:,} | {name} | {one_us:.0f} | {every_us:.0f} | {every_us / one_us:.0f} |")


def timed(way: Callable[[], int]) -> tuple[float, int]:
    """Seconds, and the token."""
    begun = time.perf_counter()
    token = way()
    return time.perf_counter() - begun, token


if __name__ == "__main__":
    main()
