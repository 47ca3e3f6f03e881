"""Reasoning over several calls on the bundled model: right answers, tokens one waits for, tokens in all, context.

Every reasoner answers the same problems as free thinking, as thinking under a budget, and as a majority vote over the
drafts of a ``pdr`` row (its own first round, so at no more tokens). The bundled model was never taught to write or read
notes; the rows say whether the machinery works and what each merge costs, not what a large model would gain.

    python scripts/memory.py --n 140 --seed 1 --temperature 0.6 --json docs/results/memory.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from laconic import Engine, Limits, Sampling
from laconic.answers import extract, key
from laconic.bench.provenance import provenance
from laconic.bench.stats import bootstrap_ratio
from laconic.bench.tasks import Item, draw, load
from laconic.intervals import wilson
from laconic.policy import registry
from laconic.thinking.memory.base import Reasoner, Solved

BUDGETS = (64, 128, 192)
_INFTY, _PDR, _REFINE = "infty-think:segment=128,workspace=64", "pdr:workspace=96", "sequential-refine:workspace=96"
SPECS = (
    f"{_INFTY},merge=tail",
    f"{_PDR},merge=answers",
    f"{_INFTY},merge=tail,place=thought",
    f"{_PDR},merge=answers,place=thought",
    f"{_REFINE},merge=tail",
    _INFTY,
    _PDR,
)


class Outcome(NamedTuple):
    """One problem: right or not, tokens one after the other, in all, and the longest context."""

    right: bool
    sequential: int
    total: int
    context: int


def main() -> None:
    """Ask, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=140)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=0.6)
    parser.add_argument("--max-tokens", type=int, default=1920, help="most tokens one after the other, a problem")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    engine = Engine.load("bundled", draft="bundled-draft", drafter="draft-model")
    items = draw(load(None), given.n, given.seed)
    samplings = [Sampling(given.temperature, seed=i) for i in range(len(items))]
    limits = Limits(given.max_tokens)

    def plain(engine: Engine) -> list[Outcome]:
        requests = [
            engine.request(i.question, sampling=s, limits=limits) for i, s in zip(items, samplings, strict=True)
        ]
        results = engine.run(requests, batch=4)
        return [
            Outcome(
                bool(item.judge(r.answer)), r.usage.generated, r.usage.generated, r.usage.prompt + r.usage.generated
            )
            for item, r in zip(items, results, strict=True)
        ]

    found = {"free": plain(engine)}
    for tokens in BUDGETS:
        found[f"budget:{tokens}"] = plain(engine.using(think=(f"budget:{tokens}",)))
    for spec in SPECS:
        progress(spec)
        made = registry.build("memory", spec)
        assert isinstance(made, Reasoner)
        solved = [
            made.solve(item.question, engine, sampling=sampling, limits=limits)
            for item, sampling in zip(items, samplings, strict=True)
        ]
        found[made.spec()] = [outcome(item, each) for item, each in zip(items, solved, strict=True)]
        if len(solved[0].rounds[0].results) > 1 and "vote" not in found:
            found["vote"] = [voted(item, each) for item, each in zip(items, solved, strict=True)]
        write(found, given)  # a run takes long enough to be broken off
    show({name: row(outcomes, found["free"]) for name, outcomes in found.items()})


def write(found: dict[str, list[Outcome]], given: argparse.Namespace) -> None:
    """All rows so far."""
    if given.json:
        rows = {name: row(outcomes, found["free"]) for name, outcomes in found.items()}
        settings = {name: str(value) for name, value in vars(given).items()}
        given.json.write_text(
            json.dumps({"rows": rows, "settings": settings, "provenance": provenance()}, indent=1) + "\n"
        )


def progress(text: str) -> None:
    """On a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{text:<70}")


def outcome(item: Item, solved: Solved) -> Outcome:
    """What a reasoner made of a problem."""
    return Outcome(bool(item.judge(solved.answer)), solved.sequential, solved.usage.generated, solved.context)


def voted(item: Item, solved: Solved) -> Outcome:
    """The commonest answer of the drafts of the first round; of equally common ones, the first given."""
    drafts = solved.rounds[0].results
    given = [extract(draft.answer) for draft in drafts if draft.finish_reason == "stop" and draft.answer]
    counts = Counter(map(key, given))
    winner = next((answer for answer in given if key(answer) == counts.most_common(1)[0][0]), "")
    context = max(draft.usage.prompt + draft.usage.generated for draft in drafts)
    total = sum(draft.usage.generated for draft in drafts)
    return Outcome(bool(item.judge_answer(winner)), solved.rounds[0].sequential, total, context)


def row(found: Sequence[Outcome], free: Sequence[Outcome]) -> dict[str, Any]:
    """Means over problems, with 95 % intervals; tokens also as a ratio to free thinking's on the same problems."""
    n = len(found)

    def against(of: Callable[[Outcome], int]) -> dict[str, Any]:
        pairs = [(float(of(a)), float(of(b))) for a, b in zip(found, free, strict=True)]
        ratio = sum(a for a, _ in pairs) / sum(b for _, b in pairs)
        return {"mean": sum(map(of, found)) / n, "to_free": ratio, "to_free_ci": bootstrap_ratio(pairs)}

    hits = sum(each.right for each in found)
    return {
        "n": n,
        "accuracy": hits / n,
        "accuracy_ci": wilson(hits, n),
        "won": sum(a.right and not b.right for a, b in zip(found, free, strict=True)),
        "lost": sum(b.right and not a.right for a, b in zip(found, free, strict=True)),
        "sequential": against(lambda each: each.sequential),
        "total": against(lambda each: each.total),
        "context": max(each.context for each in found),
    }


def show(rows: dict[str, dict[str, Any]]) -> None:
    """The table."""
    print(f"{'':66} {'right':>6} {'won':>4} {'lost':>4} {'in a row':>8} {'in all':>7} {'context':>7}")
    for name, r in rows.items():
        print(
            f"{name:66} {r['accuracy']:6.1%} {r['won']:4} {r['lost']:4} {r['sequential']['mean']:8.1f} "
            f"{r['total']['mean']:7.1f} {r['context']:7}"
        )


if __name__ == "__main__":
    main()
