"""What rollouts cost that reuse those of an earlier epoch, and whether they have the new model's distribution.

    python scripts/reuse.py OLD NEW --prompts 24 --generations 8 --json FILE
    python scripts/reuse.py OLD NEW --samples 1024 --json FILE

OLD and NEW are checkpoints of one run of ``laconic train``, or ``bundled``. The old model's rollouts are sampled once;
each way then samples the new model's:

``fresh``       without them (drafts by ``suffix``, as always);
``coupled``     with the same random numbers and the old rollout as the draft (``rollouts.reuse`` of a recipe);
``spec-rl``     as SPEC-RL (Liu et al. 2025) was published: a token of the old rollout stands with probability
                min(1, e^lenience p_new / p_old), what follows the first that does not is sampled afresh;
``residual``    the same with lenience 0, but for the first token afresh, which is drawn from (p_new - p_old)+.

Passes of the scoring of old rollouts count as one for each batch. With ``--samples`` all rollouts are of one prompt,
and two tokens in some places, and lengths, are held against ``fresh`` by G tests.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rollouts import g_test

from laconic import Engine, Limits, Request, Sampling
from laconic.bench import tasks
from laconic.bench.provenance import provenance
from laconic.models.base import chain
from laconic.speculation.draws import Draws, warp
from laconic.splitmix import MASK, mix

_DEPTHS = (20, 40, 60, 100)
"""Tokens from which two are looked at: first ones are nearly certain."""


@dataclass
class Way:
    """What one way of sampling did."""

    outputs: list[list[int]]
    passes: int
    taken: int
    seconds: float


def main() -> int:
    """Sample, count, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--samples", type=int, default=0)
    parser.add_argument("--max-tokens", type=int, default=400)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lenience", type=float, nargs="+", default=[0.0, 0.5])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    old, new = (Engine.load(name, dtype=torch.float32) for name in (given.old, given.new))
    count = 1 if given.samples else given.prompts
    items = tasks.draw(tasks.load(None), count, 7)
    rows = [(item, k) for item in items for k in range(given.samples or given.generations)]
    asked = [request(old, item.question, at, given.max_tokens) for at, (item, _) in enumerate(rows)]
    former = [list(result.tokens) for result in old.run(asked, batch=given.batch)]
    ways = {"fresh": fresh(new, asked, given.batch), "coupled": coupled(new, asked, former, given.batch)}
    distributions = told(old, new, asked, former, given.batch)
    for lenience in given.lenience:
        ways[f"spec-rl:{lenience:g}"] = cut(new, asked, former, distributions, given.batch, lenience, exact=False)
    ways["residual"] = cut(new, asked, former, distributions, given.batch, 0.0, exact=True)
    record: dict[str, Any] = {}
    for name, way in ways.items():
        n = sum(map(len, way.outputs))
        right = [bool(item.judge(new.text.decode(out))) for (item, _), out in zip(rows, way.outputs, strict=True)]
        record[name] = {
            "rollouts": len(rows), "tokens": n / len(rows), "right": sum(right) / len(rows),
            "passes": way.passes, "taken over": way.taken / n, "seconds": way.seconds,
            "passes of fresh": way.passes / ways["fresh"].passes,
            "seconds of fresh": way.seconds / ways["fresh"].seconds,
        }  # fmt: skip
        if given.samples and name != "fresh":
            record[name]["p"] = tests(ways["fresh"].outputs, way.outputs)
        sys.stdout.write(f"{name}: {json.dumps(record[name])}\n")
    if given.json:
        setup = {k: v for k, v in vars(given).items() if k not in ("json", "old", "new")}
        setup |= {"old": Path(given.old).name, "new": Path(given.new).name}
        given.json.write_text(json.dumps({"setup": setup, "ways": record, "provenance": provenance()}, indent=1) + "\n")
    return 0


def request(engine: Engine, question: str, seed: int, most: int) -> Request:
    """A rollout as training asks for it."""
    return engine.request(question, sampling=Sampling(1.0, seed=mix(seed) >> 1), limits=Limits(most, answer_room=0))


def reseeded(asked: Request, word: int) -> Request:
    """The same with other random numbers."""
    seed = mix((asked.sampling.seed + word) & MASK) >> 1
    return replace(asked, sampling=replace(asked.sampling, seed=seed))


def fresh(engine: Engine, asked: Sequence[Request], batch: int) -> Way:
    """Without old rollouts."""
    before, begun = passes(engine), time.perf_counter()
    made = engine.run([reseeded(each, 1) for each in asked], batch=batch)
    return Way([list(r.tokens) for r in made], passes(engine) - before, 0, time.perf_counter() - begun)


def coupled(engine: Engine, asked: Sequence[Request], former: Sequence[list[int]], batch: int) -> Way:
    """Drafted from the old ones, with their random numbers."""
    before, begun = passes(engine), time.perf_counter()
    made = engine.run(
        [replace(each, prior=tuple(tokens)) for each, tokens in zip(asked, former, strict=True)], batch=batch
    )
    taken = sum(result.usage.predicted for result in made)
    return Way([list(r.tokens) for r in made], passes(engine) - before, taken, time.perf_counter() - begun)


@dataclass
class Told:
    """Distributions ``[tokens, vocab]`` over each token of the old rollouts, by both models; what the new one cost."""

    old: list[torch.Tensor]
    new: list[torch.Tensor]
    passes: int
    seconds: float


def told(old: Engine, new: Engine, asked: Sequence[Request], former: Sequence[list[int]], batch: int) -> Told:
    """Both models' distributions along the old rollouts."""
    made: list[list[torch.Tensor]] = []
    cost, seconds = 0, 0.0
    for engine in (old, new):
        begun, count, mine = time.perf_counter(), 0, []
        for at in range(0, len(asked), batch):
            part = list(zip(asked[at : at + batch], former[at : at + batch], strict=True))
            slots = [engine.target.open() for _ in part]
            for slot, (each, _) in zip(slots, part, strict=True):
                engine.target.prefill(slot, each.prompt[:-1])
            scores = engine.target.score([chain([each.prompt[-1], *tokens[:-1]]) for each, tokens in part], slots)
            mine += [warp(scores.of(i), each.sampling) for i, (each, _) in enumerate(part)]
            for slot in slots:
                slot.close()
            count += 1
        made.append(mine)
        cost, seconds = count, time.perf_counter() - begun
    return Told(made[0], made[1], cost, seconds)


def cut(
    engine: Engine, asked: Sequence[Request], former: Sequence[list[int]], known: Told, batch: int, lenience: float,
    *, exact: bool,
) -> Way:  # fmt: skip
    """The beginning of each old rollout that stands, gone on with."""
    before, begun = passes(engine), time.perf_counter()
    kept: list[list[int]] = []
    taken = 0
    for each, tokens, p_old, p_new in zip(asked, former, known.old, known.new, strict=True):
        draws = Draws(mix(each.sampling.seed + 2) >> 1)
        ratio = torch.tensor(lenience).exp() * p_new.gather(1, torch.tensor(tokens)[:, None])[:, 0]
        ratio = (ratio / p_old.gather(1, torch.tensor(tokens)[:, None])[:, 0]).tolist()
        stands = next((i for i, r in enumerate(ratio) if draws.uniform(i, Draws.ACCEPT) >= r), len(tokens))
        kept.append(tokens[:stands])
        taken += stands
        if exact and stands < len(tokens):
            kept[-1].append(draws.pick((p_new[stands] - p_old[stands]).clamp_min(0), stands))
    ends = set(engine.text.eos)
    open_ = [
        i for i, tokens in enumerate(kept)
        if len(tokens) < asked[i].limits.max_new_tokens and not (tokens and tokens[-1] in ends)
    ]  # fmt: skip
    rest = [
        replace(
            reseeded(asked[i], 3), prompt=(*asked[i].prompt, *kept[i]), phase=None, question=None,
            limits=Limits(asked[i].limits.max_new_tokens - len(kept[i]), answer_room=0),
        ) for i in open_
    ]  # fmt: skip
    for i, result in zip(open_, engine.run(rest, batch=batch), strict=True):
        kept[i] = [*kept[i], *result.tokens]
    seconds = time.perf_counter() - begun + known.seconds
    return Way(kept, passes(engine) - before + known.passes, taken, seconds)


def passes(engine: Engine) -> int:
    """All so far."""
    return int(engine.target.passes)  # type: ignore[attr-defined]


def tests(one: Sequence[list[int]], two: Sequence[list[int]]) -> list[float]:
    """G tests of two tokens in some places, and of lengths: p each."""
    found = []
    for depth in (*_DEPTHS, None):
        counts = (
            Counter(len(o) // 10 if depth is None else tuple(o[depth : depth + 2]) for o in outputs)
            for outputs in (one, two)
        )
        found.append(g_test(*counts)["p"])
    return found


if __name__ == "__main__":
    sys.exit(main())
