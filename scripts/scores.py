"""How well scores of a thought tell right answers from wrong ones, beside its mere length.

Thoughts of the bundled model with all scores, and recorded thoughts of other models (``--traces``, JSON lines as
``laconic replay`` reads them, with known answers) with those that text alone gives. AUC above 0.5: right answers have
the higher score; below: the lower one. Intervals are bootstraps over thoughts.

    python scripts/scores.py --n 210 --seed 1 --temperature 0.6 --json docs/results/scores.json --traces a.jsonl b.jsonl
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from laconic import Engine, Limits, Sampling
from laconic.bench.grading import same
from laconic.bench.provenance import provenance
from laconic.bench.replay.records import read
from laconic.bench.replay.statements import final_answer
from laconic.bench.replay.thoughts import split
from laconic.bench.scores import auc, auc_interval, trace
from laconic.bench.tasks import draw, load
from laconic.thinking.scores.score import Scored, score
from laconic.thinking.scores.trace import Trace

Judged = tuple[Scored, bool]
FEWEST = 5
"""Right or wrong thoughts below which an interval would say more than is known."""


def main() -> None:
    """Think, score, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=210)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=0.6)
    parser.add_argument("--max-tokens", type=int, default=1024)
    parser.add_argument("--traces", type=Path, nargs="*", default=[])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = {"bundled": table(bundled(given))}
    for path in given.traces:
        found[path.stem] = table(recorded(path))
    for name, part in found.items():
        show(name, part)
    if given.json:
        settings = {key: str(value) for key, value in vars(given).items() if key not in ("traces", "json")}
        names = [path.name for path in given.traces]  # their folder is nobody's business
        command = f"scores.py --n {given.n} --seed {given.seed} --temperature {given.temperature:g}"
        command += f" --max-tokens {given.max_tokens}" + (f" --traces {' '.join(names)}" if names else "")
        settings["traces"] = ", ".join(names)
        record = {"sets": found, "settings": settings, "provenance": provenance(command)}
        given.json.write_text(json.dumps(record, indent=1) + "\n")


def bundled(given: argparse.Namespace) -> list[Judged]:
    """Thoughts of the bundled model, read once more for their probabilities."""
    engine = Engine.load("bundled", draft="bundled-draft", drafter="draft-model")
    items = draw(load(None), given.n, given.seed)
    requests = [
        engine.request(item.question, limits=Limits(given.max_tokens), sampling=Sampling(given.temperature, seed=i))
        for i, item in enumerate(items)
    ]
    judged = []
    for item, request, result in zip(items, requests, engine.run(requests, batch=4), strict=True):
        thought = result.tokens[: result.usage.thinking]
        known = trace(engine.target, engine.text, request.prompt, thought)
        judged.append((score(known), bool(item.judge(result.answer))))
    return judged


def recorded(path: Path) -> list[Judged]:
    """Thoughts of a file of which it can be told whether they ended right."""
    judged = []
    for record in read(path).records:
        parts = split(record.turns[-1].written)
        answer = final_answer(parts[1], record.answer) if parts else ""
        if parts is not None and record.answer and answer:
            judged.append((score(Trace.of(parts[0])), same(record.answer, answer)))
    return judged


def table(judged: Sequence[Judged]) -> dict[str, Any]:
    """AUC and medians of every score that all thoughts have."""
    flags = [right for _, right in judged]
    rows = {}
    for name in (each.name for each in fields(Scored)):
        values = [getattr(scored, name) for scored, _ in judged]
        if any(value is None for value in values):
            continue
        rows[name] = {
            "auc": auc(values, flags),
            "ci": auc_interval(values, flags) if FEWEST <= sum(flags) <= len(flags) - FEWEST else None,
            "median_right": middle([v for v, right in zip(values, flags, strict=True) if right]),
            "median_wrong": middle([v for v, right in zip(values, flags, strict=True) if not right]),
        }
    return {"n": len(judged), "right": sum(flags), "scores": rows}


def middle(values: Sequence[float]) -> float | None:
    """The median, if there is any value."""
    return statistics.median(values) if values else None


def show(name: str, part: dict[str, Any]) -> None:
    """The table of one set."""
    print(f"\n{name}: {part['n']} thoughts, {part['right']} right")
    print(f"{'':18} {'AUC':>6} {'95 %':>16} {'median, right':>14} {'wrong':>9}")
    for score_name, row in part["scores"].items():
        if row["auc"] is not None:
            interval = "{:.3f} to {:.3f}".format(*row["ci"]) if row["ci"] else "too few"
            medians = f"{row['median_right']:14.3f} {row['median_wrong']:9.3f}"
            print(f"{score_name:18} {row['auc']:6.3f} {interval:>16} {medians}")


if __name__ == "__main__":
    main()
