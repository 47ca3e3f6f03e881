"""What probes cost, and whether free ones decide as separate ones do: an exit's own runs against each other.

Every problem is answered four times, in rotating order: with probes as branches of scoring passes (free), with probes
in passes of their own (separate), by a controller that ends the thought at the very place where the first one did
without asking anything (unasked), and without any controller. Text and answer of the first three must be the same, so
that their times differ by the probes alone.

    python scripts/probes.py --model out/pad03 --dtype bfloat16 --threads 2 --n 40 --json docs/results/probes.json
    python scripts/probes.py --n 420 --json docs/results/probes_bundled.json      # the decisions, on more problems
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from laconic import Engine, Limits, Request, Result, Sampling
from laconic.bench.provenance import provenance
from laconic.bench.stats import bootstrap_median, rotation
from laconic.bench.tasks import draw, load
from laconic.cli.options import named_dtype
from laconic.models.text import Text
from laconic.policy import Card, Needs, knobs
from laconic.thinking.base import Action, Conclude, Continue, Controller, View


@knobs
class Unasked(Controller):
    """Ends the thought after so many thinking tokens, knowing what will be answered."""

    card = Card(paper="laconic's own", lossless=False)
    needs = Needs(thinking=True)
    name = "unasked"

    thinking: int
    expected: str

    def start(self, request: Request, text: Text) -> None:
        """Nothing to remember."""

    def limit(self, state: None) -> int:
        """The place."""
        return self.thinking

    def decide(self, state: None, view: View) -> Action:
        """End it there."""
        if view.thinking < self.thinking:
            return Continue()
        return Conclude("this is the place", expected=self.expected)


def main() -> None:
    """Run, compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--dtype")
    parser.add_argument("--drafter", default="draft-model")
    parser.add_argument("--exit", default="settled")
    parser.add_argument("--n", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--max-tokens", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    dtype = named_dtype(given.dtype)
    free = Engine.load(given.model, draft="bundled-draft", dtype=dtype, drafter=given.drafter, think=(given.exit,))
    engines = {"free": free, "separate": free.using(probes="separate"), "plain": free.using(think=())}
    items = draw(load(None), given.n, given.seed)
    free.generate(items[0].question, limits=Limits(60))  # the first passes of a process are slow
    rows: list[dict[str, float]] = []
    steps = same = apart = 0
    for at, item in enumerate(items):
        sampling = Sampling(given.temperature, seed=at)
        asked = free.request(item.question, sampling=sampling, limits=Limits(given.max_tokens))
        first = free.run([asked])[0]
        place = Unasked(first.usage.thinking, expected(first))
        unasked = replace(asked, controllers=(place,) if first.events else ())
        row: dict[str, float] = {}
        made: dict[str, Result] = {}
        for name in rotation(["free", "separate", "unasked", "plain"], at):
            begun = time.perf_counter()
            engine = engines["plain" if name == "unasked" else name]
            made[name] = engine.run([unasked if name == "unasked" else asked])[0]
            row[name] = time.perf_counter() - begun
            row[f"{name} passes"] = made[name].usage.target_passes
        row["steps"] = max(1, made["free"].thinking.count("\n\n"))
        steps += int(row["steps"])
        same += int(row["steps"]) if made["free"].tokens == made["separate"].tokens else 0
        apart += made["free"].tokens != made["unasked"].tokens
        rows.append(row)
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{at + 1} of {len(items)}")
    ratios = {name: [row[name] / row["unasked"] for row in rows] for name in ("free", "separate", "plain")}
    found = {
        "n": len(rows),
        "steps": steps,
        "steps_of_equal_texts": same,
        "texts_unlike_unasked": apart,
        "time_against_unasked": {
            name: {
                "median": statistics.median(values),
                "interval": bootstrap_median(values),
                "whole": sum(row[name] for row in rows) / sum(row["unasked"] for row in rows),
            }
            for name, values in ratios.items()
        },
        "passes": {
            name: sum(row[f"{name} passes"] for row in rows) for name in ("free", "separate", "unasked", "plain")
        },
    }
    for line in json.dumps(found, indent=1).splitlines():
        print(line)
    if given.json:
        settings = {key: str(value) for key, value in vars(given).items() if key != "json"}
        given.json.write_text(json.dumps(found | {"settings": settings, "provenance": provenance()}, indent=1) + "\n")


def expected(result: Result) -> str:
    """How the answer begins that a probe had seen coming: up to its closing brace."""
    head, brace, _ = result.answer.partition("}")
    return head + brace


if __name__ == "__main__":
    main()
