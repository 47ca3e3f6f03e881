"""Rollouts for TRL's trainer: its own ``generate`` path beside laconic's engine, on the same weights and prompts.

    python scripts/rollouts.py --model bundled --rounds 5 --threads 2 --workers 2 --json FILE
    python scripts/rollouts.py --model bundled --samples 4000 --threads 2 --json FILE

The first measures a step's rollouts as each way makes them inside the trainer, in turns: tokens a second, and
their ratio by rounds. What laconic needs to copy the weights, anew for each step, counts. The
second samples one prompt many times both ways and compares the beginnings of what was written, and how long it became,
by a G test of homogeneity.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from scipy.stats import chi2_contingency
from transformers import AutoModelForCausalLM
from trl import GRPOConfig, GRPOTrainer

from laconic.bench.provenance import provenance
from laconic.bench.stats import bootstrap_ratio
from laconic.models.load import load_text, resolve
from laconic.training.run.rollouts import EngineRollouts

_DEPTH = 3
"""Tokens at the beginning that are compared, beside the length."""


def main() -> None:
    """Measure, print, write JSON."""
    asked = arguments()
    warnings.simplefilter("ignore")
    torch.set_num_threads(asked.threads)
    text = load_text(asked.model)
    found = questions(asked)
    ways: dict[str, Any] = {"trl": trainer(asked, text, found)}
    for dtype in asked.dtypes:
        ways[f"laconic {dtype}"] = EngineRollouts(
            text,
            asked.max_tokens,
            drafter=asked.drafter,
            dtype=getattr(torch, dtype),
            batch=asked.batch,
            workers=asked.workers,
            seed=asked.seed,
        )
    record = homogeneity(asked, ways, found) if asked.samples else speed(asked, ways, found)
    record |= {"settings": {k: v for k, v in vars(asked).items() if k != "json"}, "provenance": provenance()}
    if asked.json is not None:
        asked.json.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--data", type=Path, help="JSONL with questions; else held-out problems of the bundled kinds")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=0, help="of one prompt; 0 measures speed")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--drafter", default="suffix")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def questions(asked: argparse.Namespace) -> list[list[dict[str, str]]]:
    """Chat messages for each prompt."""
    from laconic.bench import tasks

    items = tasks.draw(tasks.load(str(asked.data) if asked.data else None), asked.prompts * max(asked.rounds, 1), 0)
    return [[{"role": "user", "content": item.question}] for item in items]


def trainer(asked: argparse.Namespace, text: Any, found: list[list[dict[str, str]]]) -> GRPOTrainer:
    """TRL's, as it is."""
    model = AutoModelForCausalLM.from_pretrained(resolve(asked.model), dtype=torch.float32)
    args = GRPOConfig(
        output_dir="unused", per_device_train_batch_size=asked.prompts * asked.generations,
        num_generations=asked.generations, max_completion_length=asked.max_tokens, temperature=1.0, bf16=False,
        gradient_checkpointing=False, seed=asked.seed, use_cpu=True, report_to="none", save_strategy="no",
    )  # fmt: skip
    made = GRPOTrainer(
        model=model, args=args, processing_class=text.tokenizer, reward_funcs=[unrewarded],
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in found]),
    )  # fmt: skip
    made.model.train()
    return made


def unrewarded(completions: list[Any], **_: Any) -> list[float]:
    """Nothing is learned here."""
    return [0.0] * len(completions)


def rollouts(way: Any, theirs: GRPOTrainer, prompts: list[list[dict[str, str]]], turn: int) -> list[list[int]]:
    """Completions of one step, by the trainer's own path or by ours over the trainer's weights."""
    if isinstance(way, EngineRollouts):
        theirs.state.global_step = turn
        return list(way(prompts, theirs)["completion_ids"])
    ids, images, fields = way._tokenize_prompts(prompts)
    made, _ = way._generate_single_turn(ids, images, fields, way.num_generations)
    return [list(each) for each in made]


def speed(asked: argparse.Namespace, ways: dict[str, Any], found: list[list[dict[str, str]]]) -> dict[str, Any]:
    """Seconds a token of each way, in turns."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    theirs = ways["trl"]
    for way in ways.values():  # once unmeasured: kernels are made, threads started
        rollouts(way, theirs, [prompt for prompt in found[:2] for _ in range(asked.generations)], -2)
    for turn in range(asked.rounds):
        prompts = [
            prompt for prompt in found[turn * asked.prompts : (turn + 1) * asked.prompts]
            for _ in range(asked.generations)
        ]  # fmt: skip
        order = list(ways)[turn % len(ways) :] + list(ways)[: turn % len(ways)]
        for name in order:
            begun = time.perf_counter()
            made = rollouts(ways[name], theirs, prompts, turn)
            runs[name].append({"tokens": sum(map(len, made)), "seconds": time.perf_counter() - begun})
    rows = {}
    for name, each in runs.items():
        row: dict[str, Any] = {"tokens": sum(run["tokens"] for run in each)}
        ours = [run["seconds"] / run["tokens"] for run in each]
        base = [run["seconds"] / run["tokens"] for run in runs["trl"]]
        low, high = bootstrap_ratio(list(zip(base, ours, strict=True)))
        row |= {"times": sum(base) / sum(ours), "interval": [low, high]}
        row["tokens_per_second"] = row["tokens"] / sum(run["seconds"] for run in each)
        rows[name] = row
        print(f"{name}: {row['tokens_per_second']:.0f} tokens a second, {row['times']:.2f} times TRL's", end=" ")
        print(f"({row['interval'][0]:.2f} to {row['interval'][1]:.2f})")
    return {"speed": rows, "rounds": runs}


def homogeneity(asked: argparse.Namespace, ways: dict[str, Any], found: list[list[dict[str, str]]]) -> dict[str, Any]:
    """Whether beginnings and lengths are of one distribution: each way beside TRL's."""
    counts: dict[str, list[Counter[Any]]] = {name: [Counter() for _ in range(_DEPTH + 1)] for name in ways}
    size = asked.prompts * asked.generations
    for turn in range(-(-asked.samples // size)):
        for name, way in ways.items():
            for written in rollouts(way, ways["trl"], [found[0]] * size, turn):
                for depth in range(_DEPTH):  # the tokens in the middle of the text: beginnings are nearly certain
                    counts[name][depth][tuple(written[20 * (depth + 1) : 20 * (depth + 1) + 2])] += 1
                counts[name][_DEPTH][len(written) // 10] += 1
    record = {}
    for name in list(ways)[1:]:
        tests = []
        for depth in range(_DEPTH + 1):
            one, two = counts["trl"][depth], counts[name][depth]
            tests.append(g_test(one, two))
        record[name] = tests
        print(f"{name}: p = {', '.join(format(test['p'], '.3f') for test in tests)}")
    return {"samples": size * -(-asked.samples // size), "homogeneity": record}


def g_test(one: Counter[Any], two: Counter[Any]) -> dict[str, Any]:
    """Whether what was counted twice is of one distribution: cells that are not rare, and p of their homogeneity."""
    kept = pooled([[one[key], two[key]] for key in sorted(one | two)])
    told = chi2_contingency(kept, correction=False, lambda_="log-likelihood") if len(kept) > 1 else None
    return {"cells": len(kept), "p": 1.0 if told is None else float(told.pvalue)}


def pooled(table: list[list[int]], least: int = 10) -> Any:
    """Rows that are rare are added up."""
    kept = [row for row in table if sum(row) >= least]
    rare = [row for row in table if sum(row) < least]
    return [*kept, *([[sum(row[0] for row in rare), sum(row[1] for row in rare)]] if rare else [])]


if __name__ == "__main__":
    main()
