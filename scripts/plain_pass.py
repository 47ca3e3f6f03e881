"""A plain pass in bfloat16 by the project's kernels, against Transformers' modules and PyTorch's products.

    laconic specimen smollm2
    python scripts/plain_pass.py [--model smollm2] [--rounds 10]

One process each, asked in turn for five passes over one token behind 75; prints the ratio's median and quartiles.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

import torch

from laconic.models.base import chain
from laconic.models.causal_lm import CausalLM
from laconic.models.load import resolve

_PASSES = 5


def main() -> None:
    """Ask both sides in turn; a process that is a side answers until its input ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--side", choices=("modules", "kernels"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        serve(given.model, written_out=given.side == "kernels")
        return
    sides = {name: start(given.model, name) for name in ("modules", "kernels")}
    for name, side in sides.items():
        assert side.stdout is not None
        print(f"{name}: {side.stdout.readline().strip()}")
    ratios = []
    for turn in range(given.rounds + 2):
        seconds = {name: asked(side) for name, side in sides.items()}
        if turn > 1:  # the first two warm up
            ratios.append(seconds["modules"] / seconds["kernels"])
    print(statistics.median(ratios), statistics.quantiles(ratios, n=4))
    for side in sides.values():
        side.communicate()


def start(model: str, name: str) -> subprocess.Popen[str]:
    """A process for one side."""
    native = "0" if name == "modules" else "1"
    return subprocess.Popen(
        [sys.executable, __file__, "--model", model, "--side", name],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"LACONIC_NATIVE": native},
    )  # fmt: skip


def asked(side: subprocess.Popen[str]) -> float:
    """Seconds of a side's next passes."""
    assert side.stdin is not None
    assert side.stdout is not None
    side.stdin.write("\n")
    side.stdin.flush()
    return float(side.stdout.readline())


def serve(model: str, *, written_out: bool) -> None:
    """Say the path, then for each line how long the passes took."""
    torch.set_num_threads(1)
    lm = CausalLM.load(resolve(model), dtype=torch.bfloat16, written_out=written_out)
    print(lm.path, flush=True)
    slot = lm.open()
    lm.prefill(slot, list(range(5, 80)))
    for _ in sys.stdin:
        begun = time.perf_counter()
        for _ in range(_PASSES):
            lm.score([chain([7])], [slot])
        print(time.perf_counter() - begun, flush=True)


if __name__ == "__main__":
    main()
