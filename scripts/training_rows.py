"""Rewards beside each other: one base, the same steps and rollouts, several seeds, held-out problems.

    python scripts/training_rows.py docs/recipes/bundled.toml FOLDER --seeds 0 1 2 --jobs 2 --json FILE [REWARD ...]

Every reward and seed is a run of ``laconic train`` in a folder of its own; those that have ended are not run again,
those that were stopped are resumed. Accuracy and thinking tokens are those of the last evaluation, beside those of the
first, which is the base on the same problems.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from laconic.bench.provenance import provenance
from laconic.intervals import wilson

REWARDS = (
    "outcome", "dapo:buffer=100", "cosine", "arora-zanette:alpha=0.4", "kimi", "arlcp", "o1-pruner:alpha=2",
    "shorterbetter", "hapo", "slpo:alpha=0.5", "laser:target=150", "laser-d:easy=100,medium=150,hard=200",
    "laser-de:easy=100,medium=150,hard=200", "dler", "siri:shortest=150,longest=400,cycle=20",
    "palu:target=0.9,quantile=0.5", "alp:beta=0.001", "a-dlp:accuracy=0.9,rate=0.01,price=0.001",
    "grpo-lambda:reward=[kimi],share=0.5", "conciser", "pear:alpha=1", "s-grpo:exits=7", "drpo:temperature=0.1",
    "gfpo:k=4", "lapo-discovery",
)  # fmt: skip
"""Those that need no budget in the prompt, with lengths that suit thoughts of some 240 tokens."""
WHOLE = ("drpo",)
"""Those whose loss needs all rollouts of a step in one pass."""


def main() -> None:
    """Run what is missing, print a table, write JSON."""
    asked = arguments()
    runs = [(reward, seed) for seed in asked.seeds for reward in asked.rewards or REWARDS]
    with ThreadPoolExecutor(asked.jobs) as pool:
        list(pool.map(lambda run: follow(asked, *run), runs))
    rows = [row(asked, reward) for reward in asked.rewards or REWARDS]
    print("| reward | right (95 %) | thinking tokens, of the base's | discouraged | ended early |")
    print("|---|---|---|---|---|")
    for each in sorted((each for each in rows if each["runs"]), key=lambda each: each["share"]):
        (low, high), shares = each["interval"], ", ".join(f"{one:.2f}" for one in each["shares"])
        print(
            f"| `{each['reward']}` | {each['right']:.1%} ({low:.0%}-{high:.0%}) | {each['share']:.2f} ({shares}) |"
            f" {each['discouraged']:.2f} | {each['collapsed']} |"
        )
    if asked.json is not None:
        record = {"rows": rows, "recipe": asked.recipe.read_text("utf-8"), "set": asked.set, "provenance": provenance()}
        asked.json.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("rewards", nargs="*")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    parser.add_argument("--set", action="append", default=[], help="changes to the recipe, as of laconic train")
    parser.add_argument("--json", type=Path)
    return parser.parse_intermixed_args()


def place(asked: argparse.Namespace, reward: str, seed: int) -> Path:
    """The folder of a run."""
    return Path(asked.folder) / f"{re.sub(r'[^a-z0-9.-]+', '_', reward)}.{seed}"


def follow(asked: argparse.Namespace, reward: str, seed: int) -> None:
    """One run, unless it has ended."""
    out = place(asked, reward, seed)
    if (out / "model").exists() or (out / "collapsed").exists():
        return
    command = [sys.executable, "-m", "laconic", "train", str(asked.recipe), str(out)]
    command += ["--set", f'reward="{reward}"', "--set", f"seed={seed}"]
    command += [word for change in asked.set for word in ("--set", change)]
    if reward.split(":")[0] in WHOLE:
        command += ["--set", "update.rows=1000000"]
    done = subprocess.run(
        [*command, *(["--resume"] if (out / "recipe.json").exists() else [])],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and "fell from" in done.stderr:
        (out / "collapsed").write_text(done.stderr, "utf-8")
    elif done.returncode:
        print(f"{reward}, seed {seed}: {done.stderr[-500:]}", file=sys.stderr)


def row(asked: argparse.Namespace, reward: str) -> dict[str, Any]:
    """A reward over all of its seeds. Accuracy is over problems and seeds together."""
    runs = []
    for seed in asked.seeds:
        out = place(asked, reward, seed)
        if not (out / "model").exists() and not (out / "collapsed").exists():
            continue
        log = [json.loads(line) for line in (out / "log.jsonl").read_text("utf-8").splitlines()]
        known = [each for each in log if "evaluation" in each]
        steps = [each for each in log if "step" in each]
        if len(known) < 2:
            continue
        told = [each["right_discouraged"] for each in steps if each["right_discouraged"] is not None]
        runs.append(
            {
                "seed": seed, "base": known[0], "last": known[-1], "steps": len(steps),
                "written": sum(each["written"] for each in steps) if "written" in steps[0] else None,
                "mean_tokens": statistics.fmean(each["tokens"] for each in steps),
                "discouraged": statistics.fmean(told), "collapsed": (out / "collapsed").exists(), "evaluations": known,
            }
        )  # fmt: skip
    if not runs:
        return {"reward": reward, "runs": []}
    n = sum(run["last"]["n"] for run in runs)
    right = sum(round(run["last"]["right"] * run["last"]["n"]) for run in runs)
    shares = [run["last"]["thinking"] / run["base"]["thinking"] for run in runs]
    return {
        "reward": reward, "right": right / n, "n": n, "interval": list(wilson(right, n)),
        "share": statistics.fmean(shares), "shares": shares,
        "discouraged": statistics.fmean(run["discouraged"] for run in runs),
        "collapsed": sum(run["collapsed"] for run in runs), "runs": runs,
    }  # fmt: skip


if __name__ == "__main__":
    main()
