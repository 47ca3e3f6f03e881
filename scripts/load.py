"""Batches on the real engine beside the simulated server: tokens a second by draft length, measured and predicted.

    python scripts/load.py --n 64 --json docs/results/load.json
    python scripts/load.py --n 64 --model CHECKPOINT --dtype bfloat16 --threads 2

A closed loop serves blocks of problems at each batch size, under each policy, interleaved. The simulator is given the
costs of passes and of the engine's own work, measured in sweeps of their own between the runs, and a recording of the
draft model along the same texts; nothing is fitted to the runs that it is compared with. Rates are medians over blocks,
ratios those to plain decoding of the same block.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from laconic import Engine, Limits, Request
from laconic.bench.measure import Stopwatch
from laconic.bench.provenance import provenance
from laconic.bench.simulate import costs
from laconic.bench.simulate.calibrate import Calibrator
from laconic.bench.simulate.history import History
from laconic.bench.simulate.jobs import Job
from laconic.bench.simulate.memory import Bounds
from laconic.bench.simulate.record import record
from laconic.bench.simulate.recording import Script
from laconic.bench.simulate.run import PLAIN, policy
from laconic.bench.simulate.server import Server
from laconic.bench.stats import rotation
from laconic.bench.tasks import draw, load
from laconic.cli.options import named_dtype
from laconic.loop import PROMPT_WITH_DRAFT
from laconic.models.causal_lm import PREFILL_CHUNK

POLICIES = (PLAIN, "constant:1", "constant:2", "constant:4", "constant:8", "constant:16", "marginal")
PHASES = ("prefill", "draft", "score", "host")


@dataclass(slots=True)
class Block:
    """One block under one policy: tokens, seconds in all and by phase, and counts."""

    tokens: int
    seconds: float
    phases: dict[str, float]
    passes: int
    nodes: int
    own: dict[str, float] = field(default_factory=dict)
    """Seconds in no model, by phase and in all; verification with the passes that decide ties."""
    ties: int = 0


@dataclass(slots=True)
class Variant:
    """A policy at one batch size, on the engine and simulated."""

    spec: str
    engine: Engine
    texts: list[list[Script]] = field(default_factory=list)
    """What was served, block by block."""
    real: list[Block] = field(default_factory=list)
    simulated: list[Block] = field(default_factory=list)

    def rate(self, blocks: Sequence[Block]) -> float:
        """Median tokens a second."""
        return statistics.median(block.tokens / block.seconds for block in blocks)


def main() -> None:
    """Measure, simulate, print the tables, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=64, help="problems")
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--batches", default="1,2,4,8,16,32")
    parser.add_argument("--policies", default=";".join(POLICIES), help="semicolon list of length specs, or none")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--draft-model", default="bundled-draft")
    parser.add_argument("--dtype")
    parser.add_argument("--max-tokens", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sweeps", type=int, default=3, help="measurements of passes, spread over the run")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    plain = Engine.load(given.model, draft=given.draft_model, dtype=named_dtype(given.dtype), drafter="none")
    assert plain.draft_model is not None
    items = draw(load(None), given.n, given.seed)
    requests = [plain.request(item.question, limits=Limits(given.max_tokens)) for item in items]
    said("recording")
    recording = record(plain, requests)
    other = [plain.request(item.question) for item in draw(load(None), 32, given.seed + 1)]
    calibrator = Calibrator(plain)
    watched = Engine(Stopwatch(plain.target), plain.text, plain.methods, Stopwatch(plain.draft_model))
    specs, batches = given.policies.split(";"), [int(batch) for batch in given.batches.split(",")]
    measured: dict[int, list[Variant]] = {}
    # One engine a policy for all batch sizes: like a server whose load rises, it keeps what it has learned of costs.
    engines = {
        spec: watched.using(drafter="none") if spec == PLAIN else watched.using(drafter="draft-model", length=spec)
        for spec in specs
    }
    for place, batch in enumerate(batches):
        if place % max(1, len(batches) // given.sweeps) == 0:
            calibrator.sweep(other, after=lambda text: said(f"measuring passes: {text}"))
        measured[batch] = variants = [Variant(spec, engine) for spec, engine in engines.items()]
        size = max(8, 2 * batch)
        for turn in range(given.blocks):
            at = [(turn * size + i) % len(requests) for i in range(size)]
            for variant in rotation(variants, turn):
                said(f"batch {batch}, block {turn + 1}, {variant.spec}")
                variant.real.append(run(variant.engine, [requests[i] for i in at], batch, warm=turn == 0))
                variant.texts.append([recording.scripts[i] for i in at])
    found = calibrator.costs()
    result: dict[str, Any] = {}
    for batch, variants in measured.items():
        for variant in variants:
            server = Server(found.target, found.draft, policy(variant.spec), host=found.host, bounds=Bounds(batch))
            variant.simulated = [simulate(server, texts, batch) for texts in variant.texts]
        result[str(batch)] = table(variants)
        show(batch, result[str(batch)])
    for spec, row in result[str(max(batches))].items():
        parts = ", ".join(f"{phase} {share:.1%}" for phase, share in row["own_over_target_passes"].items())
        print(f"own work over target passes, batch {max(batches)}, {spec}: {parts}")
    errors = [abs(row["error"]) for rows in result.values() for row in rows.values()]
    print(f"median difference {statistics.median(errors):.1%}, largest {max(errors):.1%}")
    if given.json:
        made = {
            "batches": result,
            "costs": {name: summed(cost) for name, cost in (("target", found.target), ("draft", found.draft)) if cost},
            "host": found.host.as_dict(),
            "hit_rate": recording.hit_rate,
            "settings": {k: str(v) for k, v in vars(given).items()},
            "provenance": provenance(),
        }
        given.json.write_text(json.dumps(made, indent=1) + "\n")


def run(engine: Engine, requests: Sequence[Request], batch: int, *, warm: bool) -> Block:
    """One block on the real engine."""
    if warm:
        engine.run([Request(r.prompt, limits=Limits(24)) for r in requests[:batch]], batch=batch)
    watches = [model for model in (engine.target, engine.draft_model) if isinstance(model, Stopwatch)]
    before, passes, begun = [w.seconds for w in watches], engine.target.passes, time.perf_counter()
    results = engine.run(requests, batch=batch)
    seconds = time.perf_counter() - begun
    models = [w.seconds - earlier for w, earlier in zip(watches, before, strict=True)]
    spent = {phase: sum(r.usage.seconds[phase] for r in results) for phase in results[0].usage.seconds}
    alone = (len(r.prompt) - 1 for r in requests if len(r.prompt) > PROMPT_WITH_DRAFT)
    chunks = sum(-(-length // PREFILL_CHUNK) for length in alone)
    return Block(
        sum(len(r.tokens) for r in results),
        seconds,
        {"prefill": spent["prefill"], "draft": spent["draft"], "score": spent["score"],
         "host": spent["verify"] + spent["policy"]},
        engine.target.passes - passes,
        sum(r.usage.drafted + r.usage.target_passes for r in results),
        {"all": seconds - sum(models), "draft": spent["draft"] - sum(models[1:]), "verify": spent["verify"],
         "policy": spent["policy"]},
        sum(r.usage.prefill_passes for r in results) - chunks,
    )  # fmt: skip


def simulate(server: Server, scripts: Sequence[Script], batch: int) -> Block:
    """The same block on the simulated server."""
    history: History = server.run([Job(script) for script in scripts], clients=batch)
    phases = {phase: sum(getattr(each, phase) for each in history.rounds) for phase in PHASES}
    rounds = [each for each in history.rounds if each.requests]
    nodes, tokens = sum(each.nodes - each.given for each in rounds), sum(each.tokens for each in rounds)
    return Block(tokens, server.now, phases, len(rounds), nodes, ties=sum(each.ties for each in rounds))


def table(variants: Sequence[Variant]) -> dict[str, Any]:
    """Rates, ratios to plain decoding of the same block, differences, and phases, by policy."""
    rows: dict[str, Any] = {}
    base = variants[0]
    for v in variants:
        real, simulated = v.rate(v.real), v.rate(v.simulated)
        ratios = [
            statistics.median(a.tokens / a.seconds / (b.tokens / b.seconds) for a, b in zip(mine, plain, strict=True))
            for mine, plain in ((v.real, base.real), (v.simulated, base.simulated))
        ]
        total = sum(block.seconds for block in v.real)
        rows[v.spec] = {
            "real": real, "simulated": simulated, "error": simulated / real - 1,
            "ratio": ratios[0], "simulated_ratio": ratios[1], "ratio_error": ratios[1] / ratios[0] - 1,
            "phases": phases(v.real), "simulated_phases": phases(v.simulated),
            "passes": sum(b.passes - b.ties for b in v.real), "simulated_passes": sum(b.passes for b in v.simulated),
            "nodes": sum(b.nodes for b in v.real), "simulated_nodes": sum(b.nodes for b in v.simulated),
            "ties": sum(b.ties for b in v.real), "simulated_ties": sum(b.ties for b in v.simulated),
            "own": sum(b.own["all"] for b in v.real) / total,
            "own_over_target_passes": {
                phase: sum(b.own[phase] for b in v.real) / sum(b.phases["score"] for b in v.real)
                for phase in v.real[0].own
            },
        }  # fmt: skip
    return rows


def phases(blocks: Sequence[Block]) -> dict[str, float]:
    """Milliseconds by phase, per written token."""
    tokens = sum(block.tokens for block in blocks)
    return {phase: 1e3 * sum(block.phases[phase] for block in blocks) / tokens for phase in PHASES}


def summed(cost: costs.Measured) -> dict[str, Any]:
    """The fits, and how well they hold."""
    fits = {"passes": cost.model, "prompts": cost.prompts, "repeated": cost.repeated}
    return {name: {k: v for k, v in asdict(fit).items() if k != "cells"} for name, fit in fits.items() if fit}


def show(batch: int, rows: dict[str, Any]) -> None:
    """One batch size's table as text."""
    sys.stderr.write("\r" + 60 * " " + "\r")
    print(f"\nbatch {batch:3}    tokens/s  simulated   diff | over plain  simulated   diff | own work | "
          "ms a token, real/simulated: " + ", ".join(PHASES))  # fmt: skip
    for spec, row in rows.items():
        parts = "  ".join(f"{row['phases'][p]:.2f}/{row['simulated_phases'][p]:.2f}" for p in PHASES)
        ties = f"  ties {row['ties']}/{row['simulated_ties']}" if row["ties"] else ""
        print(f"{spec:12} {row['real']:8.0f}   {row['simulated']:8.0f} {row['error']:+6.1%} |"
              f"     {row['ratio']:5.2f}      {row['simulated_ratio']:5.2f} {row['ratio_error']:+6.1%} |"
              f"   {row['own']:5.1%}  | {parts}{ties}")  # fmt: skip


def said(text: str) -> None:
    """Progress on standard error."""
    sys.stderr.write(f"\r{text:60}")


if __name__ == "__main__":
    main()
