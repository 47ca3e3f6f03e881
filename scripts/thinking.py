"""How long to think: accuracy against thinking tokens, for every controller across its knob, on the same thoughts.

Problems are thought through to the end once; every controller is then asked where it would have stopped
(``laconic.bench.oracle.exits``), and the model what it would have answered there: the whole front comes from one run.
``--check`` runs some controllers for real on the same problems and says how often they end where this says they do.

    laconic fit spec-exit out/signals
    python scripts/thinking.py --n 420 --temperature 0 --json thinking.json --plot thinking.svg \\
      --spec-exit out/signals --check "settled;answer-confidence"
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from laconic import Engine, Limits, Request, Result, Sampling
from laconic.bench.oracle.exits import Thought, ended
from laconic.bench.oracle.thought import Ending
from laconic.bench.provenance import provenance
from laconic.bench.stats import bootstrap, ratio
from laconic.bench.tasks import Item, draw, load
from laconic.intervals import wilson
from laconic.policy import joined, registry
from laconic.thinking.base import Controller

FAMILIES = {
    "settled": [
        f"settled:{x}"
        for x in (0.001, 0.002, 0.003, 0.004, 0.005, 0.0055, 0.006, 0.0065, 0.007, 0.008, 0.01, 0.013, 0.02)
    ],
    "settled, by the answer alone": [
        f"settled:{x},numbers=false" for x in (0.0015, 0.002, 0.003, 0.0045, 0.006, 0.009, 0.012, 0.015, 0.02, 0.03)
    ],
    "answer-confidence": [f"answer-confidence:{x}" for x in (0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999)],
    "answer-confidence, product": [
        f"answer-confidence:{x},product" for x in (0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998)
    ],
    "answer-agreement": [f"answer-agreement:{x}" for x in (1, 2, 3, 4, 5, 6, 8)],
    "answer-agreement, 64 tokens": [f"answer-agreement:{x},tokens=64" for x in (1, 2, 3, 4)],
    "answer-entropy": [f"answer-entropy:{x}" for x in (1, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)],
    "closing-rank": [f"closing-rank:{x}" for x in (16, 20, 25, 30, 35, 40, 45, 50, 60, 80)],
    "closing-rank, after a line": [
        rf"closing-rank:0,prob={x},text=\n" for x in (0.05, 0.2, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
    ],
    "confidence-probe": [
        f"confidence-probe:{x}" for x in (0.5, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001, 0.00003)
    ],
    "entropy-slope": [f"entropy-slope:{x}" for x in (0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.003, 0.001)],
    "entropy-slope, giving up": [f"entropy-slope:0.02,give_up={x}" for x in (2, 3, 4, 5, 6)],
    "trimr": [f"trimr:{x}" for x in (2, 3, 4)],
    "loop-break": ["loop-break", "loop-break:sentences=3", "loop-break:sentences=2"],
    "budget": [f"budget:{x}" for x in (32, 48, 64, 96, 128, 160, 192, 256, 320, 384)],
}
SIGNALS = {
    "spec-exit": [f"confidence={x}" for x in (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)],
    "spec-exit, alpha 0.1": [f"confidence={x},alpha=0.1" for x in (0.5, 0.6, 0.7, 0.8, 0.9)],
    "spec-exit, not smoothed": [f"confidence={x},alpha=1" for x in (0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98)],
}
"""What --spec-exit adds."""
REAL = {
    "soft-landing": [f"soft-landing:{x}" for x in (96, 128, 192, 256)],
    "end-temperature": [f"end-temperature:{x}" for x in (3, 5, 7)],
    "no-wait": ["no-wait"],
    "switch-penalty": ["switch-penalty:words=wait/let me check/let me verify"],
    "confidence-injection": ["confidence-injection"],
    "concise-hint": ["concise-hint:first=64"],
    "no-thinking": ["no-thinking"],
    "composed": ["budget:192+settled", "budget:192+loop-break+settled+no-wait"],
}
"""Controllers that change what is written, run for real on the same problems with the same draws."""
DRAWN = (
    *(
        "settled",
        "answer-confidence",
        "answer-confidence, product",
        "answer-agreement",
        "answer-entropy",
        "entropy-slope",
    ),
    *("closing-rank", "trimr", "spec-exit, not smoothed", "end-temperature", "soft-landing", "budget"),
)
"""What the picture shows; the table has all."""
Outcome = tuple[int, bool]
"""Thinking tokens, and whether the answer is right."""


def main() -> None:
    """Think, ask, print, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=420)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--max-tokens", type=int, default=1024)
    parser.add_argument("--check", default="", help="semicolon list of controllers to run for real")
    parser.add_argument(
        "--spec-exit", metavar="HEAD", help="a head of spec-exit (laconic fit spec-exit), to be compared too"
    )
    parser.add_argument("--real", action="store_true", help="also run controllers that change what is written")
    parser.add_argument("--only", default="", help="comma list of words; families that have none are left out")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    words = [word for word in given.only.split(",") if word]
    families = {name: specs for name, specs in FAMILIES.items() if not words or any(word in name for word in words)}
    if given.spec_exit:
        for name, knobs in SIGNALS.items():
            families[name] = [f"spec-exit:head={given.spec_exit},{each}" for each in knobs]
    torch.set_num_threads(1)
    engine = Engine.load("bundled", draft="bundled-draft", drafter="draft-model")
    items = draw(load(None), given.n, given.seed)
    requests = [
        engine.request(item.question, limits=Limits(given.max_tokens), sampling=Sampling(given.temperature, seed=i))
        for i, item in enumerate(items)
    ]
    free, thoughts = think(engine, items, requests)
    oracle = [best(item, thought, own) for item, thought, own in zip(items, thoughts, free, strict=True)]
    rows = {"free": row(free, free, oracle), "oracle": row(oracle, free, oracle)}
    found: dict[str, list[Outcome]] = {}
    for specs in families.values():
        for spec in specs:
            said(spec)
            controller = built(spec)
            found[spec] = [
                outcome(controller, item, thought, own)
                for item, thought, own in zip(items, thoughts, free, strict=True)
            ]
            rows[spec] = row(found[spec], free, oracle)
    for name, specs in REAL.items() if given.real else ():
        families[name] = specs
        for spec in specs:
            said(f"{spec}, for real")
            rows[spec] = row(run(engine, spec, items, requests)[1], free, oracle)
    show(rows)
    checks = {spec: check(engine, spec, items, requests, found.get(spec), thoughts) for spec in listed(given.check)}
    for spec, counted in checks.items():
        print(f"{spec}, run for real: {counted}")
    if given.plot:
        plot(rows, families, given.plot, given.temperature)
    if given.json:
        settings = {key: str(value) for key, value in vars(given).items()}
        made = {"rows": rows, "checks": checks, "settings": settings, "provenance": provenance()}
        given.json.write_text(json.dumps(made, indent=1) + "\n")


def listed(text: str) -> list[str]:
    """The parts of a semicolon list."""
    return [part for part in text.split(";") if part]


def said(text: str) -> None:
    """Progress, on a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{text:<60}")


def built(spec: str) -> Controller:
    """A controller from its spec."""
    made = registry.build("think", spec)
    assert isinstance(made, Controller)
    return made


def think(
    engine: Engine, items: Sequence[Item], requests: Sequence[Request]
) -> tuple[list[Outcome], list[Thought | None]]:
    """Free runs, and their thoughts; None where a thought was cut off at the limit."""
    free: list[Outcome] = []
    thoughts: list[Thought | None] = []
    for i, (item, request) in enumerate(zip(items, requests, strict=True)):
        said(f"thinking: {i + 1} of {len(items)}")
        (result,) = engine.run([request])
        free.append((result.usage.thinking, bool(item.judge(result.answer))))
        try:
            thoughts.append(Thought(engine.target, engine.text, request, result.tokens))
        except ValueError:
            thoughts.append(None)
    return free, thoughts


def right(item: Item, thought: Thought, place: Ending) -> bool:
    """Whether the answer asked for at ``place`` is right."""
    belief = thought.belief(place)
    return belief.complete and bool(item.judge_answer(belief.answer))


def outcome(controller: Controller, item: Item, thought: Thought | None, own: Outcome) -> Outcome:
    """What a controller would have made of a problem."""
    if thought is None:
        return own
    place = ended(controller, thought)
    return own if place is thought.ends[-1] else (place.thinking, right(item, thought, place))


def best(item: Item, thought: Thought | None, own: Outcome) -> Outcome:
    """The shortest sufficient prefix of a thought that ended right; others are left as they are."""
    if thought is None or not own[1]:
        return own
    places = thought.ends[:-1]
    return next(((place.thinking, True) for place in places if right(item, thought, place)), own)


def row(found: Sequence[Outcome], free: Sequence[Outcome], oracle: Sequence[Outcome]) -> dict[str, Any]:
    """Accuracy and thinking tokens, and both against free thinking, with 95 % intervals over problems."""
    n, hits = len(found), sum(ok for _, ok in found)
    pairs = list(zip(found, free, strict=True))
    tokens, whole, least = (sum(t for t, _ in part) for part in (found, free, oracle))
    return {
        "n": n,
        "accuracy": hits / n,
        "accuracy_ci": wilson(hits, n),
        "thinking": tokens / n,
        "saved": 1 - tokens / whole,
        "saved_ci": bootstrap(pairs, lambda some: 1 - ratio([(a[0], b[0]) for a, b in some])),
        "gained": (hits - sum(ok for _, ok in free)) / n,
        "gained_ci": bootstrap(pairs, lambda some: statistics.mean(a[1] - b[1] for a, b in some)),
        "of_oracle": (whole - tokens) / (whole - least) if whole > least else None,
    }


def show(rows: dict[str, dict[str, Any]]) -> None:
    """The table."""
    width = max(map(len, rows))
    print(f"{'':{width}} {'right':>7} {'tokens':>7} {'saved':>23} {'accuracy gained':>26} {'of oracle':>9}")
    for name, r in rows.items():
        saved = f"{r['saved']:.1%} ({r['saved_ci'][0]:.1%}, {r['saved_ci'][1]:.1%})"
        gained = f"{r['gained']:+.1%} ({r['gained_ci'][0]:+.1%}, {r['gained_ci'][1]:+.1%})"
        share = "" if r["of_oracle"] is None else f"{r['of_oracle']:.0%}"
        print(f"{name:{width}} {r['accuracy']:7.1%} {r['thinking']:7.1f} {saved:>23} {gained:>26} {share:>9}")


def run(
    engine: Engine, spec: str, items: Sequence[Item], requests: Sequence[Request]
) -> tuple[list[Result], list[Outcome]]:
    """Run controllers, joined by ``+``, for real, sixteen problems at a time."""
    results = engine.using(think=joined(spec)).run(requests, batch=16)
    return results, [
        (result.usage.thinking, bool(item.judge(result.answer))) for item, result in zip(items, results, strict=True)
    ]


def check(
    engine: Engine,
    spec: str,
    items: Sequence[Item],
    requests: Sequence[Request],
    expected: Sequence[Outcome] | None,
    thoughts: Sequence[Thought | None],
) -> dict[str, Any]:
    """Run a controller for real and compare with what the finished thoughts said."""
    found = expected or [(0, False)] * len(items)
    results, real = run(engine, spec, items, requests)
    same = sum(a[0] == b[0] for a, b in zip(real, found, strict=True))
    return {
        "n": len(items),
        "accuracy": sum(ok for _, ok in real) / len(items),
        "thinking": statistics.mean(tokens for tokens, _ in real),
        "ended at the same place": same,
        "as right or wrong as said": sum(a[1] == b[1] for a, b in zip(real, found, strict=True)),
        "without an answer": sum(not result.answer for result in results),
        "left over": sum(thought is None for thought in thoughts),
    }


def plot(rows: dict[str, dict[str, Any]], families: dict[str, list[str]], path: Path, temperature: float) -> None:
    """The front: accuracy against thinking tokens."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 5.2), layout="constrained")
    axes = figure.add_subplot()
    drawn = [name for name in DRAWN if name in families]
    for at, name in enumerate(drawn):
        points = sorted((rows[spec]["thinking"], rows[spec]["accuracy"]) for spec in families[name])
        width, style = 2.8 if name == "settled" else 1.2, "-" if at < 6 else "--"
        look = {"linestyle": style, "color": f"C{at % 6}", "marker": "o" if at < 6 else "^"}
        axes.plot(*zip(*points, strict=True), markersize=4, linewidth=width, label=name, **look)
    for name, mark in (("free", "s"), ("oracle", "*")):
        axes.plot(rows[name]["thinking"], rows[name]["accuracy"], mark, color="black", markersize=9, label=name)
    axes.set(xlabel="thinking tokens a problem", ylabel="right", xlim=(0, None), ylim=(0.8, 1.0))
    axes.set_title(f"{rows['free']['n']} problems of the bundled reasoner at temperature {temperature:g}", loc="left")
    axes.set_yticks([0.8, 0.85, 0.9, 0.95, 1.0])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.savefig(path)


if __name__ == "__main__":
    main()
