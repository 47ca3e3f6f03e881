"""Draft trees against the chain: tokens per target pass at equal numbers of scored tokens.

    python scripts/trees.py --json docs/results/trees.json
    python scripts/trees.py --drafters noise=3 --budgets 16 --max-tokens 200

Drafters: ``bundled``, the bundled draft model, which is nearly always right; ``noise=S``, the same with normal noise
of standard deviation S added to its logits (one fixed row of noise for each last token), which is often wrong;
``suffix``, counts of what was written before. Ways: ``greedy``; ``match`` and ``speculative-sampling``, at the
temperature asked for. ``sequoia`` is told how often guesses of each rank hold, measured with the same drafter in the
same way on other problems.

Only tokens and passes are counted, and they do not depend on the machine. The ratio to the chain comes with a 95 %
bootstrap interval over problems.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rank_acceptance import Witness

from laconic import Engine, Limits, Methods, Request, Sampling
from laconic.bench.provenance import provenance
from laconic.bench.stats import bootstrap_ratio
from laconic.bench.tasks import draw, load
from laconic.models.base import LanguageModel, Scores, ScoreTree, Slot
from laconic.speculation.shape.optimal import acceptance_by_rank

WAYS = ("greedy", "match", "speculative-sampling")
SUFFIX = "suffix:factor=0,offset=4096,min_prob=0"
"""Drafts as long as the budget, so that trees and chains are scored alike."""
_RANKS = 8


class Noisy:
    """A draft model with noise on its logits: a function of the last token."""

    def __init__(self, model: LanguageModel, amount: float) -> None:
        self.model = model
        self.vocab_size, self.context = model.vocab_size, model.context
        generator = torch.Generator().manual_seed(0)
        self.noise = amount * torch.randn(model.vocab_size, model.vocab_size, generator=generator)

    @property
    def passes(self) -> int:
        """Those of the model inside."""
        return self.model.passes

    def open(self) -> Slot:
        """A slot of the model inside."""
        return self.model.open()

    def prefill(self, slot: Slot, tokens: Sequence[int]) -> int:
        """As the model inside."""
        return self.model.prefill(slot, tokens)

    def score(self, trees: Sequence[ScoreTree], slots: Sequence[Slot]) -> Scores:
        """The model's logits and the noise."""
        scores = self.model.score(trees, slots)
        flat = scores.flat.clone()
        for tree, start in zip(trees, scores.starts, strict=True):
            flat[start : start + len(tree)] += self.noise[list(tree.tokens)].to(flat)
        return Scores(flat, scores.starts, scores.sizes)


def shapes(way: str, drafter: str, budget: int, by_rank: Sequence[float]) -> dict[str, str]:
    """Names and specs of the shapes for one budget, each made to fit it."""
    half, quarter = max(budget // 2, 1), max(budget // 4, 1)
    found = {
        "chain": "chain",
        "k-ary 2/1/1...": "k-ary:" + "/".join(["2", *["1"] * (half - 1)]),
        "k-ary 4/1/1...": "k-ary:" + "/".join(["4", *["1"] * (quarter - 1)]),
        "stochastic-beam of 2": f"stochastic-beam:width=2,depth={half}",
        "stochastic-beam of 4": f"stochastic-beam:width=4,depth={quarter}",
        "opt-tree, delta 0": "opt-tree:delta=0,depth=64",
    }
    if drafter != "suffix":
        found["sequoia"] = "sequoia:depth=64,acceptance=" + "/".join(f"{share:.4f}" for share in by_rank)
    if way == "speculative-sampling":
        return found | {"dyspec": "dyspec:per_pass=1"}
    return found | {
        "opt-tree, delta 0.5": "opt-tree:delta=0.5,depth=64",
        "best-first, 4 a pass": "best-first",
        "EAGLE-2": "best-first:per_level=10,top_k=10,depth=6",
    }


class Bench:
    """The models, the problems and what was counted."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.base = Engine.load(given.model, draft=given.draft_model, drafter="none")
        self.items = draw(load(None), given.n, given.seed)
        self.others = draw(load(None), given.n, given.seed + 1)

    def engine(self, drafter: str, way: str, **methods: Any) -> Engine:
        """An engine of its own, so that nothing is carried over."""
        model: Any = self.base.draft_model
        if drafter.startswith("noise="):
            model = Noisy(model, float(drafter.partition("=")[2]))
        name = SUFFIX if drafter == "suffix" else "draft-model"
        verifier = "match" if way == "greedy" else way
        return Engine(self.base.target, self.base.text, Methods(drafter=name, verifier=verifier, **methods), model)

    def requests(self, way: str, items: Sequence[Any]) -> list[Request]:
        """The problems, with a seed each."""
        heat, limits = 0.0 if way == "greedy" else self.given.temperature, Limits(self.given.max_tokens)
        return [self.base.request(item.question, sampling=Sampling(heat, seed=i), limits=limits)
                for i, item in enumerate(items)]  # fmt: skip

    def by_rank(self, drafter: str, way: str) -> list[float]:
        """Acceptance by rank on problems that are not measured on."""
        witness = Witness(_RANKS)
        engine = self.engine(drafter, way, shape=f"k-ary:{_RANKS}", length=witness)
        engine.run(self.requests(way, self.others), batch=self.given.n)
        return acceptance_by_rank(witness.verdicts, _RANKS)

    def count(self, drafter: str, way: str, budget: int, shape: str) -> list[dict[str, int]]:
        """Tokens written, passes, and tokens drafted, problem by problem."""
        engine = self.engine(drafter, way, shape=shape, length=f"constant:{budget}")
        batch = 1 if drafter == "suffix" else self.given.n  # its counts are shared, so order matters
        usages = [result.usage for result in engine.run(self.requests(way, self.items), batch=batch)]
        return [{"tokens": u.thinking + u.answer, "passes": u.target_passes, "drafted": u.drafted} for u in usages]


def summary(runs: list[dict[str, int]], chain: list[dict[str, int]]) -> dict[str, Any]:
    """Tokens and drafted tokens a pass, and the first over the chain's."""
    tokens, passes, drafted = (sum(run[key] for run in runs) for key in ("tokens", "passes", "drafted"))
    rate = tokens / passes
    of_chain = sum(run["tokens"] for run in chain) / sum(run["passes"] for run in chain)
    # Both sides of a pair: passes that each would have taken for the tokens of both.
    pairs = [(c["passes"] * r["tokens"], r["passes"] * c["tokens"]) for r, c in zip(runs, chain, strict=True)]
    return {
        "tokens_per_pass": rate,
        "drafted_per_pass": drafted / passes,
        "over_chain": rate / of_chain,
        "interval": bootstrap_ratio(pairs),
        "tokens": tokens,
        "passes": passes,
    }


def main() -> None:
    """Measure, print the tables, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=21)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--draft-model", default="bundled-draft")
    parser.add_argument("--drafters", nargs="+", default=["noise=5", "bundled", "suffix"])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--budgets", nargs="+", type=int, default=[4, 8, 16, 32, 64])
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    bench = Bench(given)
    record: dict[str, Any] = {"provenance": provenance(), "settings": {k: str(v) for k, v in vars(given).items()}}
    record["tables"] = []
    for drafter in given.drafters:
        for way in given.ways:
            if drafter == "suffix" and way == "speculative-sampling":
                continue  # it draws nothing, so this is match without the foresight
            by_rank = [] if drafter == "suffix" else bench.by_rank(drafter, way)
            table: dict[str, Any] = {"drafter": drafter, "way": way, "by_rank": by_rank, "budgets": {}}
            record["tables"].append(table)
            for budget in given.budgets:
                row: dict[str, Any] = {}
                chain = bench.count(drafter, way, budget, "chain")
                for name, shape in shapes(way, drafter, budget, by_rank).items():
                    runs = chain if name == "chain" else bench.count(drafter, way, budget, shape)
                    row[name] = {"spec": shape} | summary(runs, chain)
                table["budgets"][budget] = row
                if given.json:
                    given.json.write_text(json.dumps(record, indent=1) + "\n")
            show(table)


def show(table: dict[str, Any]) -> None:
    """Tokens a pass by shape and budget."""
    out = sys.stdout.write
    ranks = ", ".join(f"{share:.3f}" for share in table["by_rank"][:4])
    out(f"\n{table['drafter']}, {table['way']}; acceptance by rank {ranks or 'not measured'}\n")
    out(f"  {'tokens a pass, budget':24}" + "".join(f"{budget:>8}" for budget in table["budgets"]) + "\n")
    names = dict.fromkeys(name for row in table["budgets"].values() for name in row)
    for name in names:
        rates = [row[name]["tokens_per_pass"] for row in table["budgets"].values()]
        out(f"  {name:24}" + "".join(f"{rate:8.2f}" for rate in rates) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
