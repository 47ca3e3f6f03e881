"""Speculation on a real model with real prompts: plain decoding and suffix drafts side by side, prompt by prompt.

    laconic specimen smollm2
    python scripts/real.py --n 40 --data DIR --json docs/results/real.json
    python scripts/real.py --n 40 --data DIR --json docs/results/real.json --dtype bfloat16 --temperature 0.8 --batch 8

DIR holds ``spec_bench.jsonl`` (of each question its first turn) and ``gsm8k_test.jsonl``, drawn from in turn. Each
answer is kept as it comes, so a run that was stopped goes on where it was, and a larger --n adds to a smaller one; one
file holds the runs of several settings. The drafter reads the prompt and its answer alone, nothing of earlier ones;
what passes cost, ``marginal`` learns anew in each run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from laconic import Engine, Limits, Result, Sampling
from laconic.bench.compare import PLAIN
from laconic.bench.provenance import provenance
from laconic.bench.stats import bootstrap_ratio, ratio, rotation
from laconic.cli.options import named_dtype, settle

METHODS = {"plain": PLAIN, "suffix": PLAIN | {"drafter": "suffix:shared=false", "length": "marginal"}}
"""The two sides; the first is what the other is compared with."""
WARM_UP = "Name three rivers."


def main() -> None:
    """Answer what is missing in the record, then print and write what all answers say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=40)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1, help="prompts answered at once, by both sides alike")
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    settle(given.threads, given.model)
    record = json.loads(given.json.read_text()) if given.json.exists() else {"runs": {}}
    settings = {key: getattr(given, key) for key in ("model", "dtype", "temperature", "seed", "max_tokens", "threads")}
    if given.batch > 1:
        settings["batch"] = given.batch
    run = record["runs"].setdefault(
        ", ".join(f"{key} {value}" for key, value in settings.items()), {"settings": settings, "answers": []}
    )
    chosen = prompts(given.data, given.n, given.seed)
    begun = len(run["answers"])
    for answer in answers(given, chosen[begun:], begun):
        run["answers"].append(answer)
        run["summary"] = summary(run["answers"])
        run["provenance"] = provenance()
        keep(record, given.json)
        sys.stderr.write(f"\r{len(run['answers'])} of {len(chosen)} prompts")
    for name, each in record["runs"].items():
        print(name, json.dumps(each["summary"], indent=1))


def prompts(data: Path, n: int, seed: int) -> list[tuple[str, str]]:
    """``n`` pairs of id and prompt, one of each set in turn; fewer are the beginning of more."""
    bench = [(f"spec_bench {x['question_id']} {x['category']}", x["turns"][0]) for x in rows(data / "spec_bench.jsonl")]
    sums = [(f"gsm8k {x['id']}", x["question"]) for x in rows(data / "gsm8k_test.jsonl")]
    for each in (bench, sums):
        random.Random(seed).shuffle(each)
    return [pair for pairs in zip(bench, sums, strict=False) for pair in pairs][:n]


def rows(file: Path) -> list[Any]:
    """One object a line."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def answers(given: argparse.Namespace, chosen: list[tuple[str, str]], at: int) -> Iterator[dict[str, Any]]:
    """What both sides make of each prompt, one straight after the other, in an order that rotates.

    With a batch, of each block of prompts; a prompt's seconds are its share of the block's.
    """
    if not chosen:
        return
    base = Engine.load(given.model, dtype=named_dtype(given.dtype), **PLAIN)
    engines = [(name, base.using(**methods)) for name, methods in METHODS.items()]
    limits = Limits(given.max_tokens)
    for _, engine in engines:
        engine.generate(WARM_UP, limits=Limits(16))
    for start in range(0, len(chosen), given.batch):
        block = chosen[start : start + given.batch]
        found: list[dict[str, Any]] = [{"id": name} for name, _ in block]
        texts: dict[str, list[tuple[int, ...]]] = {}
        for side, engine in rotation(engines, (at + start) // given.batch):
            requests = [
                engine.request(prompt, limits=limits, sampling=Sampling(given.temperature, seed=given.seed + turn))
                for turn, (_, prompt) in enumerate(block, at + start)
            ]
            begun = time.perf_counter()
            results = engine.run(requests, batch=given.batch)
            seconds = (time.perf_counter() - begun) / len(block)
            texts[side] = [tuple(result.tokens) for result in results]
            for answer, result in zip(found, results, strict=True):
                answer[side] = counted(result, seconds)
        for answer, ours, plain in zip(found, texts["suffix"], texts["plain"], strict=True):
            yield answer | {"same": ours == plain}


def counted(result: Result, seconds: float) -> dict[str, Any]:
    """The numbers of an answer; seconds with and without the prompt's own passes."""
    usage = result.usage
    return {
        "tokens": usage.generated,
        "passes": usage.target_passes,
        "drafted": usage.drafted,
        "accepted": usage.accepted,
        "seconds": seconds,
        "prefill_seconds": usage.seconds["prefill"],
    }


def summary(done: list[dict[str, Any]]) -> dict[str, Any]:
    """Over all answers, and for each of the two sets of prompts; intervals are 95 %, prompts drawn anew."""
    sets = {"all": done, **{name: [x for x in done if x["id"].startswith(name)] for name in ("spec_bench", "gsm8k")}}
    return {name: table(each) for name, each in sets.items() if each}


def table(done: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums over sums; the time ratio is plain decoding's seconds over suffix's, above 1 where drafting is faster."""
    times = [(x["plain"]["seconds"], x["suffix"]["seconds"]) for x in done]
    passes = [(float(x["suffix"]["tokens"]), float(x["suffix"]["passes"])) for x in done]
    ratios = sorted(plain / ours for plain, ours in times)
    return {
        "prompts": len(done),
        "same_tokens": sum(x["same"] for x in done),
        "tokens": sum(x["suffix"]["tokens"] for x in done),
        "plain_passes": sum(x["plain"]["passes"] for x in done),
        "target_passes": sum(x["suffix"]["passes"] for x in done),
        "tokens_per_pass": ratio(passes),
        "tokens_per_pass_95": bootstrap_ratio(passes),
        "acceptance": sum(x["suffix"]["accepted"] for x in done) / max(1, sum(x["suffix"]["drafted"] for x in done)),
        "time_ratio": ratio(times),
        "time_ratio_95": bootstrap_ratio(times),
        "time_ratio_median": statistics.median(ratios),
        "time_ratio_quartiles": statistics.quantiles(ratios, n=4) if len(ratios) > 1 else None,
    }


def keep(record: dict[str, Any], file: Path) -> None:
    """Write the record beside its place and move it there, so that a run stopped here leaves a whole one."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    os.replace(new, file)


if __name__ == "__main__":
    main()
