"""Whether to think: what routers save and what they cost in answers, beside always, never and a random share.

Every problem is answered once in each mode. A routed answer is that of the mode which the router names, so that all
routers, at every threshold, are read off the same answers; ``--check`` runs some for real and compares. The probe is
trained on other problems than those it is judged by.

    python scripts/routing.py --n 210 --seed 1 --fit-n 420 --fit-seed 7 --json docs/results/routing.json \\
      --check "route-by-probe:PROBE;cascade"
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from laconic import Engine, Limits, Request
from laconic.bench.fit.difficulty import Recipe, fit
from laconic.bench.provenance import provenance
from laconic.bench.stats import bootstrap_ratio
from laconic.bench.tasks import Item, draw, load
from laconic.intervals import wilson
from laconic.policy import registry
from laconic.reading import Reading
from laconic.thinking.base import Controller
from laconic.thinking.route.base import Mode, Router

MODES = ("no-thinking", "budget:tokens=64", "settled", "free")
"""Cheapest first."""
THINK = "free"
CASCADES = [f"cascade:{x}" for x in (0.8, 0.9, 0.95, 0.98, 0.99)] + [
    f"cascade:{x},aggregate=product" for x in (0.9, 0.95, 0.98)
]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one mode made of one problem; expectations where it was chosen by chance. ``read`` are passes before it."""

    thinking: float
    right: float
    written: float
    read: float = 0.0
    mode: str = ""


def main() -> None:
    """Train, answer, choose, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=210)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fit-n", type=int, default=420)
    parser.add_argument("--fit-seed", type=int, default=7)
    parser.add_argument("--max-tokens", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--check", default="", help="semicolon list of routers to run for real; PROBE is the folder")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    engine = Engine.load("bundled", draft="bundled-draft", drafter="draft-model")
    items = draw(load(None), given.n, given.seed)
    requests = [engine.request(item.question, limits=Limits(given.max_tokens)) for item in items]
    asked = {item.question for item in items}
    others = [item for item in draw(load(None), given.fit_n, given.fit_seed) if item.question not in asked]
    made = {mode: answered(engine, mode, items, requests, given.batch) for mode in MODES}
    with tempfile.TemporaryDirectory() as folder:
        probe = fit(engine, others, Recipe(temperature=0.0), max_tokens=given.max_tokens)
        probe.save(folder)
        found, shares = routed(engine, items, requests, made, folder, others)
        checks = {
            spec: check(engine, spec.replace("PROBE", folder), items, requests, made)
            for spec in filter(None, given.check.split(";"))
        }
    rows = {name: row(outcomes, found["always think"], made) for name, outcomes in found.items()}
    show(rows)
    for spec, counted in checks.items():
        print(f"{spec}, run for real: {counted}")
    if given.json:
        record = {
            "rows": rows,
            "by_kind": by_kind(items, made),
            "probe": {"measures": probe.about.measures, "training": probe.about.training, "problems": len(others)},
            "share_easy": shares,
            "checks": checks,
            "settings": {key: str(value) for key, value in vars(given).items()},
            "provenance": provenance(),
        }
        given.json.write_text(json.dumps(record, indent=1) + "\n")


def answered(
    engine: Engine, mode: str, items: Sequence[Item], requests: Sequence[Request], batch: int
) -> list[Outcome]:
    """Every problem in one mode."""
    results = engine.using(think=(mode,)).run(requests, batch=batch)
    return [
        Outcome(r.usage.thinking, float(bool(item.judge(r.answer))), r.usage.generated, mode=mode)
        for item, r in zip(items, results, strict=True)
    ]


def routed(
    engine: Engine,
    items: Sequence[Item],
    requests: Sequence[Request],
    made: Mapping[str, list[Outcome]],
    folder: str,
    others: Sequence[Item],
) -> tuple[dict[str, list[Outcome]], dict[str, float]]:
    """All rows of the table by name, and the share of easy questions of the routers that lengths and chance follow."""

    def run(spec: str) -> list[Outcome]:
        return chosen(engine, spec, requests, made)

    probe = f"route-by-probe:{folder}"
    by_probe = run(probe)
    share = statistics.mean(outcome.mode == "no-thinking" for outcome in by_probe)
    cut = at_share([len(item.question) for item in others], share)
    found = {
        "always think": made[THINK],
        "never think": made["no-thinking"],
        "always budget:64": made["budget:tokens=64"],
        "always settled": made["settled"],
        "route-by-probe": by_probe,
        "route-by-probe, sure=0.6": run(f"{probe},sure=0.6"),
        "route-by-probe, sure=0.8": run(f"{probe},sure=0.8"),
        "route-by-probe, easy=[budget:64]": run(f"{probe},easy=[budget:64]"),
        "route-by-probe, normal=[settled],hard=[settled]": run(f"{probe},normal=[settled],hard=[settled]"),
        "by chance, the probe's share": blind(made, {"no-thinking": share, THINK: 1 - share}),
        f"route-by-length:{cut}": run(f"route-by-length:{cut}"),
        "route-by-word": run("route-by-word"),
        "route-by-trigger": run("route-by-trigger"),
    }
    for spec in CASCADES:
        found[spec] = run(spec)
    hard = "cascade:0.95,hard=[settled]"
    found[hard] = run(hard)
    found["oracle, never or always"] = oracle(made, ("no-thinking", THINK))
    found["oracle, all modes"] = oracle(made, MODES)
    return found, {"route-by-probe": share}


def chosen(engine: Engine, spec: str, requests: Sequence[Request], made: Mapping[str, list[Outcome]]) -> list[Outcome]:
    """What a router would have made of every problem: the outcome of the mode that it names."""
    router = registry.build("think", spec)
    assert isinstance(router, Router)
    reader = engine.using(think=(router,))  # hidden states are kept where a router needs them
    found = []
    for at, request in enumerate(requests):
        assert request.question is not None
        reading = Reading(reader)
        mode: Mode = getattr(router, router.choose(request.question, reading).mode)
        (own,) = mode or (registry.build("think", THINK),)
        assert isinstance(own, Controller)
        outcome, usage = made[own.spec()][at], reading.usage
        passes = usage.prefill_passes + usage.target_passes
        found.append(Outcome(outcome.thinking, outcome.right, outcome.written, passes, outcome.mode))
    return found


def blind(made: Mapping[str, list[Outcome]], counts: Mapping[str, float]) -> list[Outcome]:
    """What is to be expected where chance names the modes, as often as ``counts`` says: a router that knows nothing."""
    whole = sum(counts.values())

    def mean(at: int, what: str) -> float:
        return sum(times * getattr(made[mode][at], what) for mode, times in counts.items()) / whole

    problems = range(len(made[THINK]))
    return [Outcome(mean(at, "thinking"), mean(at, "right"), mean(at, "written"), mode="by chance") for at in problems]


def oracle(made: Mapping[str, list[Outcome]], modes: Sequence[str]) -> list[Outcome]:
    """The mode with the fewest thinking tokens among those that are right; free thinking where none is."""
    found = []
    for at, own in enumerate(made[THINK]):
        right = [made[mode][at] for mode in modes if made[mode][at].right]
        found.append(min(right, key=lambda outcome: outcome.thinking, default=own))
    return found


def at_share(lengths: Sequence[int], share: float) -> int:
    """The least length of a hard question for which about this share of ``lengths`` is below."""
    return sorted(lengths)[min(round(share * len(lengths)), len(lengths) - 1)]


def row(found: Sequence[Outcome], free: Sequence[Outcome], made: Mapping[str, list[Outcome]]) -> dict[str, Any]:
    """Accuracy and tokens, both against always thinking, with 95 % intervals.

    Accuracy and tokens also against chance that names the same modes as often.
    """
    n, right = len(found), sum(outcome.right for outcome in found)
    modes = Counter(outcome.mode for outcome in found)
    chance = blind(made, modes) if len(modes) > 1 else found
    ratio = bootstrap_ratio([(a.thinking, b.thinking) for a, b in zip(found, free, strict=True)])
    assert ratio is not None
    return {
        "n": n,
        "accuracy": right / n,
        "accuracy_ci": wilson(round(right), n),
        "thinking": statistics.mean(outcome.thinking for outcome in found),
        "written": statistics.mean(outcome.written for outcome in found),
        "read_passes": statistics.mean(outcome.read for outcome in found),
        "saved": 1 - sum(o.thinking for o in found) / sum(o.thinking for o in free),
        "saved_ci": (1 - ratio[1], 1 - ratio[0]),
        "gained": (right - sum(o.right for o in free)) / n,
        "gained_ci": apart(found, free),
        "over_chance": (right - sum(o.right for o in chance)) / n,
        "over_chance_ci": apart(found, chance),
        "thinking_by_chance": statistics.mean(outcome.thinking for outcome in chance),
        "modes": dict(modes),
    }


def apart(found: Sequence[Outcome], other: Sequence[Outcome]) -> tuple[float, float] | None:
    """95 % interval of the difference in accuracy on the same problems."""
    return bootstrap_ratio([(a.right - b.right, 1.0) for a, b in zip(found, other, strict=True)])


def by_kind(items: Sequence[Item], made: Mapping[str, list[Outcome]]) -> dict[str, dict[str, float]]:
    """Accuracy of every mode on every kind of problem."""
    kinds = dict.fromkeys(item.kind for item in items)
    return {
        kind: {
            mode: statistics.mean(o.right for item, o in zip(items, made[mode], strict=True) if item.kind == kind)
            for mode in MODES
        }
        for kind in kinds
    }


def check(
    engine: Engine, spec: str, items: Sequence[Item], requests: Sequence[Request], made: Mapping[str, list[Outcome]]
) -> dict[str, Any]:
    """Run a router for real, four at a time, and compare with what the modes' own answers said."""
    expected = chosen(engine, spec, requests, made)
    results = engine.using(think=(spec,)).run(requests, batch=4)
    pairs = list(zip(items, results, expected, strict=True))
    return {
        "n": len(items),
        "as many thinking tokens as said": sum(r.usage.thinking == e.thinking for _, r, e in pairs),
        "as right or wrong as said": sum(bool(item.judge(r.answer)) == bool(e.right) for item, r, e in pairs),
        "without an answer": sum(not r.answer for r in results),
    }


def show(rows: dict[str, dict[str, Any]]) -> None:
    """The table."""
    print(f"{'':48} {'right':>7} {'tokens':>7} {'saved':>24} {'gained':>25} {'over chance':>25} {'passes':>6}")
    for name, r in rows.items():
        saved = f"{r['saved']:.1%} ({r['saved_ci'][0]:.1%}, {r['saved_ci'][1]:.1%})"
        gained, over = (
            f"{r[key]:+.1%} ({r[key + '_ci'][0]:+.1%}, {r[key + '_ci'][1]:+.1%})" for key in ("gained", "over_chance")
        )
        print(f"{name:48} {r['accuracy']:7.1%} {r['thinking']:7.1f} {saved:>24} {gained:>25} {over:>25} "
              f"{r['read_passes']:6.1f}")  # fmt: skip


if __name__ == "__main__":
    main()
