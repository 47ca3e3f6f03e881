"""Whether the doubt by which ``settled`` stops is how often an answer is wrong.

The bundled model thinks freely; at the end of every step it is asked for its answer, and the answer is judged. Looks
are put into bins by their doubt, pooled of the answer and the numbers or by the answer alone, and every bin's mean
doubt stands beside its share of wrong answers. AUC: the chance that of a wrong and a right answer, both given with a
probability of 0.9 or more, the wrong one is in more doubt; its interval is a bootstrap over thoughts.

    python scripts/doubt.py --n 420 --seed 5 --temperature 0.6 --json docs/results/doubt.json
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from laconic import Engine, Limits, Request, Sampling
from laconic.bench.oracle.exits import Thought
from laconic.bench.provenance import provenance
from laconic.bench.scores import auc
from laconic.bench.stats import bootstrap
from laconic.bench.tasks import Item, draw, load
from laconic.thinking.base import View
from laconic.thinking.exit.settled import Seen, Settled, doubt

Judged = tuple[Seen, bool]
"""A look, and whether what it found is wrong."""
SIGNALS: dict[str, Callable[[Seen], float]] = {
    "doubt": lambda look: doubt(look.belief.probs, look.numbers),
    "by the answer alone": lambda look: doubt(look.belief.probs),
    "the numbers alone": lambda look: 1 - look.numbers.sure,
}
CALIBRATED = ("doubt", "by the answer alone")
BINS = 10
SURE = 0.9
"""Least probability of the answers over which AUC is taken; of others any signal can tell that they are not there."""
DRAWS = 200


def main() -> None:
    """Think, ask, judge, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=420)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--max-tokens", type=int, default=1024)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    engine = Engine.load("bundled", draft="bundled-draft", drafter="draft-model")
    items = draw(load(None), given.n, given.seed)
    requests = [
        engine.request(item.question, limits=Limits(given.max_tokens), sampling=Sampling(given.temperature, seed=i))
        for i, item in enumerate(items)
    ]
    found = [looks(engine, item, request) for item, request in zip(items, requests, strict=True)]
    every = [judged for thought in found for judged in thought]
    bins = {name: calibration(every, SIGNALS[name]) for name in CALIBRATED}
    sure = [[judged for judged in thought if math.prod(judged[0].belief.probs) >= SURE] for thought in found]
    areas = {name: area(sure, signal) for name, signal in SIGNALS.items()}
    print(f"{len(every)} looks in {len(found)} thoughts, {sum(wrong for _, wrong in every)} of them at wrong answers")
    for name, part in bins.items():
        print(f"{name}: doubt, share wrong, looks")
        for row in part:
            print(f"  {row['doubt']:.4f} {row['wrong']:.4f} {row['looks']}")
    for name, at in areas.items():
        print(f"AUC of {name}, answers of {SURE:g} and more: {at['auc']:.3f} ({at['low']:.3f}-{at['high']:.3f})")
    if given.json:
        settings = {key: str(value) for key, value in vars(given).items() if key != "json"}
        made = {"calibration": bins, "auc": areas, "looks": len(every), "settings": settings}
        given.json.write_text(json.dumps({**made, "provenance": provenance()}, indent=1) + "\n")


def looks(engine: Engine, item: Item, request: Request) -> list[Judged]:
    """What ``settled`` sees at every end of a step of one thought; nothing of a thought that was cut off."""
    (result,) = engine.run([request])
    try:
        thought = Thought(engine.target, engine.text, request, result.tokens)
    except ValueError:
        return []
    settled, found = Settled(), []
    state = settled.start(request, engine.text)
    for place in thought.ends[:-1]:
        belief, size = thought.belief(place), place.length - len(request.prompt)
        view = View(place.thinking, [], True, belief, thought.tokens[:size], "", thought.chances[:size])
        look = settled.look(state, view, belief)
        if belief.complete:
            found.append((look, not item.judge_answer(belief.answer)))
    return found


def calibration(every: Sequence[Judged], signal: Callable[[Seen], float]) -> list[dict[str, float]]:
    """As many looks in every bin; the mean doubt is geometric."""
    judged = sorted((signal(look), wrong) for look, wrong in every)
    cuts = [len(judged) * k // BINS for k in range(BINS + 1)]
    return [
        {
            "doubt": math.exp(sum(math.log(x) for x, _ in part) / len(part)),
            "wrong": sum(wrong for _, wrong in part) / len(part),
            "looks": len(part),
        }
        for part in (judged[a:b] for a, b in itertools.pairwise(cuts))
    ]


def area(found: Sequence[Sequence[Judged]], signal: Callable[[Seen], float]) -> dict[str, Any]:
    """AUC, and its interval over thoughts."""
    scored = [[(signal(look), wrong) for look, wrong in thought] for thought in found]

    def of(some: Sequence[Sequence[tuple[float, bool]]]) -> float:
        pairs = [pair for thought in some for pair in thought]
        return auc([score for score, _ in pairs], [wrong for _, wrong in pairs]) or 0.0

    low, high = bootstrap(scored, of, draws=DRAWS)
    return {"auc": of(scored), "low": low, "high": high}


if __name__ == "__main__":
    main()
