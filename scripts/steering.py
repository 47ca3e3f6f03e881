"""Steering: how long thoughts are, and how often right, against the strength of the push; beside random directions.

The direction comes from ``laconic fit steer`` on other problems. Every push is a greedy run of its own over the same
problems; the divergence of its next tokens is measured on texts that the free model wrote.

    laconic fit steer out/direction --layers 3,4,5,6 --held-out 48 --max-tokens 640 --batch 24
    python scripts/steering.py out/direction --n 105 --controls 12 --json docs/results/steering.json \\
      --plot docs/img/steering.svg
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from laconic import Engine, Limits
from laconic.bench.provenance import provenance
from laconic.bench.stats import bootstrap, ratio
from laconic.bench.steer.effect import divergences
from laconic.bench.tasks import Item, draw, load
from laconic.intervals import wilson
from laconic.policy import registry
from laconic.thinking.steer.steer import Steer
from laconic.types import Request, Result

STRENGTHS = (-0.4, -0.3, -0.2, -0.1, 0.1, 0.2, 0.3, 0.4, 0.5)
CONTROLS = (-0.3, -0.15, 0.15, 0.3)
_TEXTS = 8
"""Texts on which divergences are measured."""
Row = dict[str, Any]


def main() -> None:
    """Push, count, print, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("direction")
    parser.add_argument("--n", type=int, default=105)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-tokens", type=int, default=640)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--controls", type=int, default=8, help="random directions")
    parser.add_argument("--edited", action="append", default=[], help="an edited checkpoint to measure too")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    engine = Engine.load("bundled", draft="bundled-draft", drafter="draft-model")
    items = draw(load(None), given.n, given.seed)
    requests = [engine.request(item.question, limits=Limits(given.max_tokens)) for item in items]
    free = answers(engine, requests, (), given.batch)
    texts = [(r.prompt, result.tokens) for r, result in zip(requests, free[:_TEXTS], strict=False)]
    rows: list[Row] = [{"name": "free", "strength": 0.0, "kl": 0.0, **row(items, free, free)}]
    said(rows[-1])
    for name, strength, spec in pushes(given.direction, given.controls):
        push = registry.build("think", spec)
        assert isinstance(push, Steer)
        found = answers(engine, requests, (push,), given.batch)
        (kl,) = divergences(engine.target, texts, [push.steering(None)])
        rows.append({"name": name, "strength": strength, "kl": kl, **row(items, found, free)})
        said(rows[-1])
    for place in given.edited:
        found = answers(Engine.load(place, draft="bundled-draft", drafter="draft-model"), requests, (), given.batch)
        report = json.loads((Path(place) / "edit.json").read_text())
        about = {key: report[key] for key in ("way", "weight", "of", "heads")}
        rows.append({"name": f"edited, {Path(place).name}", **row(items, found, free), "edit": about})
        said(rows[-1])
    against = chance(rows)
    print(against)
    if given.plot:
        plot(rows, given.plot)
    if given.json:
        fitted = json.loads((Path(given.direction) / "direction.json").read_text())
        settings = {key: str(value) for key, value in vars(given).items()}
        made = {"rows": rows, "random": against, "direction": fitted, "settings": settings, "provenance": provenance()}
        given.json.write_text(json.dumps(made, indent=1) + "\n")


def pushes(direction: str, controls: int) -> list[tuple[str, float, str]]:
    """Name, strength and spec of every push."""
    real = [("direction", strength, f"steer:{direction},strength={strength}") for strength in STRENGTHS]
    return real + [
        (f"random {seed}", strength, f"steer:{direction},strength={strength},control=true,seed={seed}")
        for seed in range(controls)
        for strength in CONTROLS
    ]


def answers(engine: Engine, requests: Sequence[Request], think: tuple[Steer, ...], batch: int) -> list[Result]:
    """A run over all problems."""
    return engine.using(think=think).run(requests, batch=batch)


def row(items: Sequence[Item], results: Sequence[Result], free: Sequence[Result]) -> Row:
    """Length and rightness with 95 % intervals over problems, and what the push changed of each."""
    n = len(items)
    lengths, before = ([r.usage.thinking for r in some] for some in (results, free))
    hits = sum(bool(item.judge(r.answer)) for item, r in zip(items, results, strict=True))
    pairs = list(zip(lengths, before, strict=True))
    return {
        "n": n,
        "thinking": sum(lengths) / n,
        "change": sum(lengths) / sum(before) - 1,
        "change_ci": bootstrap(pairs, lambda some: ratio(some) - 1),
        "accuracy": hits / n,
        "accuracy_ci": wilson(hits, n),
        "cut_off": sum(r.finish_reason == "length" for r in results) / n,
    }


def chance(rows: Sequence[Row]) -> dict[str, Any]:
    """What random directions do on average, as they are and with the sign that happens to make thoughts shorter."""
    most = CONTROLS[-1]
    some = [r for r in rows if r["name"].startswith("random")]
    seeds = {r["name"] for r in some}
    best = [min((r for r in some if r["name"] == name), key=lambda r: float(r["change"])) for name in seeds]
    (fitted,) = (r for r in rows if r["name"] == "direction" and r["strength"] == most)
    forward = [r["change"] for r in some if r["strength"] == most]
    slopes = {name: slope([r for r in rows if r["name"] in (name, "free")]) for name in ("direction", *sorted(seeds))}
    random_slopes = [value for name, value in slopes.items() if name != "direction"]
    return {
        "strength": most,
        "directions": len(seeds),
        "fitted": {key: fitted[key] for key in ("change", "accuracy", "kl")},
        "mean change": statistics.mean(forward),
        "spread of changes": statistics.stdev(forward) if len(forward) > 1 else None,
        "mean change by strength": {
            strength: mean([r["change"] for r in some if r["strength"] == strength]) for strength in CONTROLS
        },
        "change over strength": {"fitted": slopes["direction"], "random": mean(random_slopes)},
        "largest of random": max(map(abs, random_slopes)),
        "their better sign": {key: statistics.mean(r[key] for r in best) for key in ("change", "accuracy", "kl")},
        "shorter than the fitted one": sum(r["change"] < fitted["change"] for r in best),
    }


def slope(rows: Sequence[Row]) -> float:
    """Change of length over strength, by least squares through the free run, within the strengths of the controls."""
    points = [(float(r["strength"]), float(r["change"])) for r in rows if abs(r["strength"]) <= CONTROLS[-1]]
    return sum(x * y for x, y in points) / sum(x * x for x, _ in points)


def mean(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean over directions, and its 95 % interval (bootstrap)."""
    return statistics.mean(values), *bootstrap(values, statistics.mean)


def said(made: Mapping[str, Any]) -> None:
    """A line of the table."""
    low, high = made["change_ci"]
    kl = f"{made['kl']:.4f}" if "kl" in made else ""
    print(f"{made['name']:24}{made.get('strength', ''):>6}  kl {kl:>7}  {made['thinking']:6.1f} tokens "
          f"({made['change']:+.1%}; {low:+.1%}, {high:+.1%})  right {made['accuracy']:.1%}  "
          f"cut off {made['cut_off']:.1%}", flush=True)  # fmt: skip


def plot(rows: Sequence[Row], path: Path) -> None:
    """Thinking tokens, and share right, against strength."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    free = rows[0]
    names = list(dict.fromkeys(r["name"] for r in rows if r["name"] == "direction" or r["name"].startswith("random")))
    for name in names:
        points = sorted((free, *(r for r in rows if r["name"] == name)), key=lambda r: float(r["strength"]))
        style = {"linewidth": 2.4} if name == "direction" else {"linewidth": 1.0, "color": "0.6"}
        label = {"direction": "fitted direction", "random 0": "random directions of equal length"}.get(name)
        for axes, key in ((left, "thinking"), (right, "accuracy")):
            axes.plot([r["strength"] for r in points], [r[key] for r in points], marker="o", markersize=3.5,
                      label=label, **style)  # fmt: skip
    left.set(ylabel="thinking tokens a problem", ylim=(0, None))
    right.set(ylabel="right", ylim=(0, 1.02))
    right.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    left.set_title(f"{free['n']} problems of the bundled reasoner, greedy", loc="left")
    for axes in (left, right):
        axes.set_xlabel("strength, as a share of the residual stream")
        axes.axvline(0, color="0.8", linewidth=0.8, zorder=0)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False, loc="lower left")
    figure.savefig(path)


if __name__ == "__main__":
    sys.exit(main())
