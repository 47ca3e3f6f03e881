"""A comparison without models: variants that read their results from a script."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch

from laconic.bench.compare import Bench, Setup
from laconic.bench.grading import same
from laconic.bench.measure import Run
from laconic.bench.tasks import Item
from laconic.engine import Engine, Methods
from laconic.types import Event, Request, Result, Usage
from tests import tiny
from tests.fakes import FakeModel

STEPS = (
    "I need to add 37 and 48.\n\n37 + 48: the ones give 15, so 5 and 1 to carry.\n\nSo the answer is 85.\n\n",
    "Wait, let me check that another way.\n\n85 - 48 = 37. This is 37 as in the question. So 85 was right.\n\n",
    "Just to be safe, 40 + 48 = 88 and 88 - 3 = 85. That is 85 again.\n",
)


class Scripted:
    """Answers the i-th question with the i-th result; asking twice for the same prompt gives the same."""

    def __init__(self, name: str, results: dict[tuple[int, ...], Result]) -> None:
        self.name = name
        self.results = results
        self.asked: list[tuple[int, ...]] = []

    def run(self, requests: Sequence[Request], batch: int) -> Run:
        self.asked += [request.prompt for request in requests]
        usual = next(iter(self.results.values()))
        return Run([self.results.get(request.prompt, usual) for request in requests])


def result(
    answer: str = "85", thinking: int = 100, passes: int = 110, tokens: Sequence[int] = (1, 2, 3), **usage: Any
) -> Result:
    """A result of ``thinking`` thinking tokens and ten of answer."""
    thought = "".join(STEPS) if thinking >= 100 else STEPS[0]
    seconds = {"prefill": 0.01, "draft": 0.02, "score": 0.5, "verify": 0.01, "policy": 0.01}
    counted = Usage(thinking=thinking, answer=10, target_passes=passes, seconds=seconds, **usage)
    events = (
        (Event("answer-confidence", "conclude", thinking, "answer '85' has confidence 0.981"),)
        if thinking < 100
        else ()
    )
    reply = f"The answer is \\boxed{{{answer}}}."
    return Result(f"<think>{thought}</think>{reply}", thought.strip(), reply, tuple(tokens), "stop", counted, events)


def items(n: int, kinds: Sequence[str] = ("sums",)) -> list[Item]:
    return [
        Item(f"q/{i}", kinds[i % len(kinds)], f"What is {i} + 37 + 48?", "85", lambda given: same("85", given))
        for i in range(n)
    ]


def bench(asked: Sequence[Item], scripts: dict[str, Sequence[Result]], **setup: Any) -> Bench:
    """A bench whose variants follow ``scripts``; the first script's order of variants holds."""
    torch.manual_seed(0)
    engine = Engine(FakeModel.random(0, vocab=264), tiny.text(), Methods(think=("answer-confidence",)))
    prompts = [engine.text.prompt(item.question) for item in asked]
    variants = [Scripted(name, dict(zip(prompts, results, strict=True))) for name, results in scripts.items()]
    exact = [pair for pair in (("speculation", "baseline"), ("laconic", "control")) if set(pair) <= set(scripts)]
    return Bench(Setup(engine.methods, **setup), engine, list(variants), exact)


def typical(n: int = 60, seed: int = 0) -> dict[str, Any]:
    """A record with numbers of a plausible size, for looking at tables and pages."""
    rng = random.Random(seed)
    kinds = ("basic_arithmetic", "chain_sum", "products", "gcd", "lcm", "simple_equations", "leg_counting")
    asked = items(n, kinds)
    scripts: dict[str, list[Result]] = {
        name: [] for name in ("transformers", "baseline", "speculation", "control", "laconic")
    }
    for _ in asked:
        long = rng.randint(120, 700)
        short = max(20, int(long * rng.uniform(0.2, 0.7)))
        per_pass = rng.uniform(2, 4.5)
        answer, later = rng.choices(("85", "84"), (9, 1))[0], rng.choices(("85", "84"), (9, 1))[0]
        scripts["transformers"].append(result(answer, long, long + 10))
        scripts["baseline"].append(result(answer, long, long + 10))
        fast = int((long + 10) / per_pass)
        scripts["speculation"].append(result(answer, long, fast, drafted=4 * fast, accepted=long - fast))
        scripts["control"].append(result(later, short, short + 60, probe_passes=50))
        less = int((short + 10) / per_pass)
        scripts["laconic"].append(result(later, short, less, drafted=4 * less, accepted=max(short - less, 0)))
    record = bench(asked, scripts).run(asked)
    for item in record["items"]:  # scripted runs take no time; give them one that follows their passes
        for name, row in item["variants"].items():
            row["seconds"] = (
                row["target_passes"] * rng.uniform(0.9, 1.2) * (0.0012 if name != "transformers" else 0.0018)
            )
    return record
