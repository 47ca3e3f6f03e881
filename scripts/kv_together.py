"""Eviction, speculation, free probes and ragged batches at once: the text is that of eviction alone.

    python scripts/kv_together.py --n 500 --threads 1 --json docs/results/kv_together.json

Every request has a kv policy, a budget, an exit that probes and a temperature of its own (0 or 0.7), drawn by lot. All
are answered twice in float32: alone, token by token, with probes in passes of their own; and in batches of eight under
drafts, with probes that ride along. Counted are requests whose tokens or events differ, and caches that are larger
than their budget; both must be 0. What happened otherwise is counted too, to show that there was something to go wrong.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

from laconic import Engine, Limits, Methods, Request, Result, Sampling
from laconic.bench.provenance import provenance
from laconic.bench.tasks import draw, load
from laconic.kv.base import KV
from laconic.kv.keeping import Evicting
from laconic.models.causal_lm import CausalLM
from laconic.models.past import CacheShape
from laconic.policy import registry
from laconic.thinking.base import Controller

EXITS = ("settled", "settled:price=1e-12", "answer-confidence:threshold=0.999,patience=3")
"""Who asks in probes whether the answer is settled: early, hardly ever, in between."""
WAYS = {
    "suffixes": Methods(drafter="suffix"),
    "chains of a draft model": Methods(drafter="draft-model", length="constant:5"),
    "trees of a draft model": Methods(drafter="draft-model", shape="best-first", length="constant:9"),
    "suffixes or a draft model": Methods(drafter="suffix:fallback=[draft-model]"),
    "the model's first layers": Methods(drafter="layer-skip:4", length="constant:3"),
}
"""Who drafts."""
KNOBS = {
    "h2o": "seen=16", "lazy-eviction": "spike=0.1,seen=16", "steps": "result=16", "snapkv": "window=16",
    "r-kv": "", "streaming-llm": "", "tova": "", "key-norm": "", "random": "",
}  # fmt: skip
LAYERS = ("uniform", "pyramid", "prefix", "dynamic")


@dataclass(frozen=True)
class Kept:
    """How one request's cache is kept: a policy, and the bytes beyond which it may not go."""

    policy: Evicting
    most: int


def kept(name: str, dice: random.Random, shape: CacheShape, prompt: int, mergers: list[str]) -> Kept:
    """A method with knobs by lot; its budget is in entries, or in bytes from the first token on."""
    more = [KNOBS[name], f"every={dice.choice([8, 16, 32])}", f"layers=[{dice.choice(LAYERS)}]"]
    more += [f"merge=[{mergers[0] if len(mergers) == 1 else dice.choice(mergers)}]"]
    spec = ",".join(filter(None, [f"{name}:budget={dice.randrange(64, 200)}", "recent=16", *more]))
    policy = cast(Evicting, registry.build("kv", spec))
    each = shape.layers * (shape.entry_nbytes + 4 * shape.kv_heads * (1 + policy.notes))
    asked = policy.looks * shape.heads * shape.head_dim * shape.itemsize * shape.layers
    asked += 4 * policy.merge.notes * shape.kv_heads * shape.layers
    most = int(policy.budget) * each + asked
    if dice.random() < 0.4:
        return Kept(cast(Evicting, replace(policy, budget=1e6).within(most, shape)), most)
    if dice.random() < 0.5:
        return Kept(replace(policy, stepwise=True), most)
    return Kept(policy, max(int(policy.budget), prompt) * each + asked)


def asked(engine: Engine, options: argparse.Namespace) -> list[tuple[Request, Kept]]:
    """The requests, every one with its own policy."""
    assert isinstance(engine.target, CausalLM)
    dice, made = random.Random(options.seed), []
    names = list(KNOBS)
    for i, item in enumerate(draw(load(None), options.n, seed=options.seed)):
        sampling = Sampling(0.7 if i % 2 else 0.0, seed=i)
        request = engine.request(item.question, sampling=sampling, limits=Limits(options.max_tokens))
        mine = kept(
            names[dice.randrange(len(names))], dice, engine.target.cache_shape, len(request.prompt), options.merge
        )
        think = (cast(Controller, registry.build("think", dice.choice(EXITS))),)
        made.append((replace(request, kv=cast(KV, mine.policy), controllers=think), mine))
    return made


def compared(result: Result, plain: Result, request: Request, mine: Kept) -> dict[str, Any]:
    """What is counted of one request."""
    equal = result.tokens == plain.tokens and noted(result) == noted(plain)
    pairs = zip(result.tokens, plain.tokens, strict=False)
    return {
        "kv": mine.policy.spec(),
        "temperature": request.sampling.temperature,
        "same": equal,
        "differs_at": None if equal else next((i for i, (a, b) in enumerate(pairs) if a != b), -1),
        "tokens": len(result.tokens),
        "bytes": max(result.cache_bytes, plain.cache_bytes),
        "most": mine.most,
        "outgrown": len(request.prompt) + len(result.tokens) - 1 > mine.policy.budget,
        "ended_early": any(event.action == "conclude" for event in result.events),
        "drafted": result.usage.drafted,
        "accepted": result.usage.accepted,
        "probed": result.usage.probed,
        "probe_passes": result.usage.probe_passes,
        "passes": result.usage.target_passes,
        "plain_passes": plain.usage.target_passes,
    }


def noted(result: Result) -> list[tuple[str, Any]]:
    """What controllers did, and where."""
    return [(event.method, event.tokens) for event in result.events]


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts over some of the requests."""
    total = {name: sum(row[name] for row in rows) for name in ("drafted", "accepted", "probed", "probe_passes")}
    return {
        "requests": len(rows),
        "different": sum(not row["same"] for row in rows),
        "over_budget": sum(row["bytes"] > row["most"] for row in rows),
        "largest_share_of_budget": max(row["bytes"] / row["most"] for row in rows),
        "texts_longer_than_budget": sum(row["outgrown"] for row in rows),
        "sampled": sum(row["temperature"] > 0 for row in rows),
        "probed_requests": sum(row["probed"] > 0 for row in rows),
        "ended_early": sum(row["ended_early"] for row in rows),
        "tokens": sum(row["tokens"] for row in rows),
        "passes_of_plain": sum(row["passes"] for row in rows) / sum(row["plain_passes"] for row in rows),
        **total,
    }


def main() -> None:
    """Run, compare, print, write; exit status 1 where anything differed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=600)
    parser.add_argument("--merge", nargs="+", default=["drop"], help="mergers to draw from")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    base = Engine.load("bundled", draft="bundled-draft", dtype=torch.float32)
    requests = asked(base, options)
    ways: dict[str, list[dict[str, Any]]] = {}
    for at, (way, methods) in enumerate(WAYS.items()):
        mine, begun = requests[at :: len(WAYS)], time.perf_counter()
        fast = base.using(**methods.fields())
        plain = fast.using(drafter="none", shape="chain", probes="separate")
        alone = [plain.run([request])[0] for request, _ in mine]
        found = fast.run([request for request, _ in mine], batch=options.batch)
        ways[way] = [compared(one, other, *pair) for one, other, pair in zip(found, alone, mine, strict=True)]
        print(f"{way}: {summary(ways[way])}, {time.perf_counter() - begun:.0f} s", flush=True)
    rows = [row for mine in ways.values() for row in mine]
    whole = summary(rows)
    print(f"all: {whole}")
    if options.json:
        setup = {key: value for key, value in vars(options).items() if key != "json"}
        by_method = {
            name: summary(some) for name in KNOBS if (some := [r for r in rows if r["kv"].split(":")[0] == name])
        }
        record = {
            "setup": setup, "all": whole, "ways": {way: summary(mine) for way, mine in ways.items()},
            "methods": by_method, "requests": ways, "provenance": provenance(),
        }  # fmt: skip
        options.json.write_text(json.dumps(record, separators=(",", ":")) + "\n")
    sys.exit(bool(whole["different"] or whole["over_budget"]))


if __name__ == "__main__":
    main()
