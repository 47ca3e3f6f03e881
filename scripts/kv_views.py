"""Drafting over a smaller view of one's own cache, on a long prompt: passes, acceptance and time beside plain decoding.

    python scripts/kv_views.py --model smollm2 --prompts 4 --length 7800 --tokens 128 --threads 2 --json FILE DRAFTER
    ...

Prompts are stretches of the project's own documentation with a request at the end. Each is read once, and every
drafter goes on from copies of what was read, in an order that rotates; times are those of writing alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any, cast

import torch

from laconic import Engine, Limits, Sampling
from laconic.bench.provenance import provenance
from laconic.bench.stats import bootstrap_ratio
from laconic.models.base import Kept, Resumes
from laconic.types import Request

ASK = "\n\nGo on with this documentation, in the same style."


def main() -> None:
    """Measure, print a table, write JSON."""
    asked = arguments()
    torch.set_num_threads(asked.threads)
    engine = Engine.load(asked.model, dtype=getattr(torch, asked.dtype), drafter="none", think=())
    target = cast(Resumes, engine.target)
    runs: dict[str, list[dict[str, Any]]] = {}
    names = ["none", *asked.drafters]
    for number, request in enumerate(prompts(engine, asked)):
        with_cache = engine.target.open()
        engine.target.prefill(with_cache, request.prompt[:-1])
        kept = target.keep(with_cache)
        with_cache.close()
        written = set()
        for name in names[number % len(names) :] + names[: number % len(names)]:
            spec, _, length = name.partition("@")
            mine = engine.using(drafter=spec, length=length or "constant:4")
            row = write(mine, request, kept)
            written.add(row.pop("text"))
            runs.setdefault(name, []).append(row)
        print(f"prompt {number + 1}: {len(request.prompt)} tokens, {len(written)} texts", flush=True)
        for name in names:
            print(told(name, summary(runs[name], runs["none"])), flush=True)
        report = {name: summary(rows, runs["none"]) for name, rows in runs.items()}
        setup = {key: value for key, value in vars(asked).items() if key != "json"}
        asked.json.write_text(
            json.dumps({"setup": setup, "rows": report, "items": runs, "provenance": provenance()}, indent=1) + "\n"
        )


def prompts(engine: Engine, asked: argparse.Namespace) -> list[Request]:
    """Requests of about ``length`` tokens each."""
    folder = Path(__file__).parent.parent / "docs"
    text = "\n\n".join(file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.md")))
    tokens = engine.text.encode(text)
    found = []
    for number in range(asked.prompts):
        begin = number * (len(tokens) - asked.length) // max(asked.prompts - 1, 1)
        said = engine.text.decode(tokens[begin : begin + asked.length - 80])
        sampling = Sampling(temperature=asked.temperature, seed=number)
        limits = Limits(max_new_tokens=asked.tokens)
        found.append(engine.request(said + ASK, sampling=sampling, limits=limits))
    return found


def write(engine: Engine, request: Request, kept: Kept) -> dict[str, Any]:
    """One request from a copy of its prompt's cache on."""
    slot = cast(Resumes, engine.target).resume(kept, kept.length)
    loop = engine.loop()
    sequence = loop.arrive(request, slot)
    loop.read(sequence, len(request.prompt))
    begun = time.perf_counter()
    while not sequence.done:
        loop.step()
    seconds = time.perf_counter() - begun
    usage = sequence.usage
    return {
        "tokens": sequence.generated, "passes": usage.target_passes, "draft_passes": usage.draft_passes,
        "drafted": usage.drafted, "accepted": usage.accepted, "seconds": seconds, "text": tuple(sequence.tokens),
    }  # fmt: skip


def summary(rows: list[dict[str, Any]], plain: list[dict[str, Any]]) -> dict[str, Any]:
    """Rates and ratios over prompts."""
    pairs = [(a["seconds"] / a["tokens"], b["seconds"] / b["tokens"]) for a, b in zip(rows, plain, strict=False)]
    return {
        "n": len(rows),
        "tokens_per_pass": sum(r["tokens"] for r in rows) / sum(r["passes"] for r in rows),
        "accepted": sum(r["accepted"] for r in rows) / max(sum(r["drafted"] for r in rows), 1),
        "time_of_plain": statistics.median(a / b for a, b in pairs),
        "time_of_plain_ci": list(bootstrap_ratio(pairs)),
    }


def told(name: str, s: dict[str, Any]) -> str:
    """A line for people."""
    low, high = s["time_of_plain_ci"]
    return (
        f"{name:60s} {s['tokens_per_pass']:.2f} tokens a pass, {s['accepted']:.2f} accepted, "
        f"time {s['time_of_plain']:.2f} ({low:.2f}-{high:.2f}) of plain"
    )


def arguments() -> argparse.Namespace:
    """What is to be measured; a drafter may have its length behind an @."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drafters", nargs="+")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--length", type=int, default=7800)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
