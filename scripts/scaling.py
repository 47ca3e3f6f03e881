"""Attempts at problems, recorded once, and scaling policies played over them.

    python scripts/scaling.py record attempts.jsonl --model smollm2-reasoner --data problems.jsonl --n 400
    python scripts/scaling.py play attempts.jsonl --json played.json adaptive-consistency enough:price=0.01

What is recorded goes on where it was stopped. A policy that is played makes the decisions that it would make in earnest
(laconic.bench.attempts.replay says what is assumed); what it costs in time, ``laconic compare --scaling`` measures.
``--attempts`` are those that a policy may make, at most as many as were recorded.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import laconic.methods  # noqa: F401  (fills the registry)
from laconic import Engine, Limits, Sampling
from laconic.bench.attempts.coverage import coverage, power_law
from laconic.bench.attempts.recording import Recording, load, record, save
from laconic.bench.attempts.replay import Played, play
from laconic.bench.provenance import provenance
from laconic.bench.stats import bootstrap_ratio
from laconic.bench.tasks import draw
from laconic.bench.tasks import load as tasks
from laconic.cli.options import named_dtype, settle
from laconic.equality import same
from laconic.intervals import wilson
from laconic.policy import registry
from laconic.scaling.base import Scaling


def main() -> int:
    """Record or play."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("record", "play"))
    parser.add_argument("file", type=Path)
    parser.add_argument("specs", nargs="*")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--dtype")
    parser.add_argument("--data", help="Tasks, as laconic compare takes them.")
    parser.add_argument("--n", type=int, default=400)
    parser.add_argument("--attempts", type=int, default=8)
    parser.add_argument(
        "--orders", type=int, default=1, help="Orders of the attempts to play, each begins with another."
    )
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-tokens", type=int, default=600)
    parser.add_argument("--think", nargs="*", default=[], help="Controllers of what is recorded: no-thinking.")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path)
    given = parser.parse_intermixed_args()
    return _record(given) if given.what == "record" else _play(given)


def _record(given: argparse.Namespace) -> int:
    settle(given.threads, given.model)
    known = {each.id for each in load(given.file)} if given.file.exists() else set()
    items = [item for item in draw(tasks(given.data), given.n, given.seed) if item.id not in known]
    dtype = named_dtype(given.dtype) if given.dtype else None
    engine = Engine.load(given.model, dtype=dtype, think=tuple(given.think))
    sampling, limits = Sampling(given.temperature, seed=given.seed), Limits(given.max_tokens)
    begun = time.perf_counter()
    for at, item in enumerate(items, start=1):
        save(given.file, [record(engine, item, given.attempts, sampling, limits)])
        if at % 20 == 0 or at == len(items):
            minutes = (time.perf_counter() - begun) / 60
            sys.stderr.write(f"{at} of {len(items)} problems in {minutes:.1f} min\n")
    return 0


def _play(given: argparse.Namespace) -> int:
    recordings = [_turned(each, turn) for each in load(given.file) for turn in range(given.orders)]
    rows = {spec: _row(recordings, spec, given.attempts) for spec in ["self-consistency", *given.specs]}
    first = rows["self-consistency"]
    told = {spec: _told(recordings, played, first) for spec, played in rows.items()}
    counts = [(len(r.attempts), sum(same(r.right, a.answer) for a in r.attempts)) for r in recordings]
    ks = [k for k in (1, 2, 4, 8, 16, 32) if k <= given.attempts]
    covered = coverage(counts, ks)
    alone = sum(right for _, right in counts) / sum(n for n, _ in counts)
    tokens = sum(len(a.tokens) for r in recordings for a in r.attempts) / sum(n for n, _ in counts)
    problems = len(recordings) // given.orders
    lines = [
        f"{problems} problems, {given.attempts} attempts each; one attempt: {alone:.1%}, {tokens:.0f} tokens",
        "coverage: " + ", ".join(f"{c:.1%} at {k}" for k, c in zip(ks, covered, strict=True)),
        f"{'policy':44s} {'right':>22s} {'tokens':>7s} {'of vote':>18s} {'rounds':>7s} {'attempts':>8s}",
    ]
    for spec, row in told.items():
        low, high = row["accuracy_ci"]
        least, most = row["tokens_of_vote_ci"]
        lines.append(
            f"{spec:44s} {row['accuracy']:7.1%} ({low:5.1%}-{high:5.1%}) {row['tokens']:7.0f} "
            f"{row['tokens_of_vote']:6.3f} ({least:.2f}-{most:.2f}) {row['rounds_of_vote']:7.3f} {row['attempts']:8.2f}"
        )
    sys.stdout.write("\n".join(lines) + "\n")
    if given.json:
        found = {
            "problems": problems, "orders": given.orders, "attempts": given.attempts,
            "one": {"accuracy": alone, "tokens": tokens},
            "coverage": dict(zip(map(str, ks), covered, strict=True)), "power_law": power_law(ks, covered),
            "policies": told, "provenance": provenance(),
        }  # fmt: skip
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def _turned(recording: Recording, turn: int) -> Recording:
    """The same attempts from another one on: what a policy that starts few makes of the question on average."""
    attempts = recording.attempts
    return replace(recording, attempts=(*attempts[turn:], *attempts[:turn]))


def _row(recordings: list[Recording], spec: str, most: int) -> list[Played]:
    policy = registry.build("scaling", spec)
    assert isinstance(policy, Scaling)
    return [play(each, policy, most) for each in recordings]


def _told(recordings: list[Recording], played: list[Played], votes: list[Played]) -> dict[str, Any]:
    right = sum(same(each.right, one.answer) for each, one in zip(recordings, played, strict=True))
    n = len(played)
    problems = len({each.id for each in recordings})
    pairs = [(one.tokens, vote.tokens) for one, vote in zip(played, votes, strict=True)]
    return {
        "accuracy": right / n,
        "accuracy_ci": list(wilson(round(right / n * problems), problems)),
        "tokens": sum(one.tokens for one in played) / n,
        "tokens_of_vote": sum(a for a, _ in pairs) / sum(b for _, b in pairs),
        "tokens_of_vote_ci": bootstrap_ratio(pairs),
        "rounds_of_vote": sum(one.rounds for one in played) / sum(vote.rounds for vote in votes),
        "attempts": sum(one.started for one in played) / n,
        "confidence": sum(one.confidence for one in played) / n,
    }


if __name__ == "__main__":
    sys.exit(main())
