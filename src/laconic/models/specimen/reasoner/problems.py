"""What the taught specimen learns to solve: kinds of reasoning-gym with small numbers, and word problems.

python -m laconic.models.specimen.reasoner.problems --n 80 --out problems.jsonl
laconic compare --model smollm2-reasoner --tasks problems.jsonl --n 80
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from laconic.errors import MissingExtra, RequestError, did_you_mean
from laconic.models.reasoner.problems import is_held_out
from laconic.models.specimen.reasoner.stories import STORIES
from laconic.models.specimen.reasoner.sums import Step, Sum, parsed, small

_DRAWN = 2**30


@dataclass(frozen=True, slots=True)
class Problem:
    """A question, the steps that answer it, and whether it is kept from training."""

    kind: str
    question: str
    steps: Sum
    held_out: bool

    @property
    def answer(self) -> int:
        """The right answer."""
        return self.steps[-1].value


@dataclass(frozen=True, slots=True)
class _Gym:
    """A data set of reasoning-gym, its settings, and the steps of its entries."""

    dataset: str
    config: dict[str, Any]
    steps: Callable[[dict[str, Any]], Sum]


def _expression(entry: dict[str, Any]) -> Sum:
    return parsed(entry["metadata"]["expression"])


def _legs(entry: dict[str, Any]) -> Sum:
    from reasoning_gym.arithmetic.leg_counting import ANIMALS

    each = [Step(name, count, "*", ANIMALS[name]) for name, count in entry["metadata"]["animals"].items()]
    first, second = each
    return first, second, Step("Together", first.value, "+", second.value)


_GYM = {
    "chain_sum": _Gym("chain_sum", {"min_terms": 2, "max_terms": 4, "min_digits": 1, "max_digits": 1}, _expression),
    "basic_arithmetic": _Gym(
        "basic_arithmetic",
        {
            "min_terms": 2,
            "max_terms": 3,
            "min_digits": 1,
            "max_digits": 1,
            "operators": ("+", "-", "*"),
            "allow_parentheses": False,
            "allow_negation": False,
            "format_style": "natural",
        },
        _expression,
    ),
    "leg_counting": _Gym(
        "leg_counting", {"min_animals": 2, "max_animals": 2, "min_instances": 1, "max_instances": 6}, _legs
    ),
}
KINDS = (*_GYM, *STORIES)
"""The names of all kinds."""


def stream(kind: str, seed: int, *, held_out: bool) -> Iterator[Problem]:
    """Endless problems of one kind: those kept from training, or the others.

    One in eight is kept, by a hash of its numbers and signs, whatever the words around them. Raises RequestError for
    an unknown kind, MissingExtra without reasoning-gym.
    """
    if kind not in KINDS:
        raise RequestError(f"no problems of kind '{kind}'.", did_you_mean(kind, KINDS))
    for question, steps in _gym(_GYM[kind], seed) if kind in _GYM else _told(kind, seed):
        content = " ".join(f"{step.left}{step.sign}{step.right}" for step in steps)
        if small(steps) and is_held_out(f"{kind} {content}") == held_out:
            yield Problem(kind, question, steps, held_out)


def held_out(n: int, seed: int) -> list[Problem]:
    """``n`` different problems that training never saw, the kinds in turn."""
    sources = {kind: stream(kind, seed, held_out=True) for kind in KINDS}
    found: dict[str, Problem] = {}
    for kind in itertools.cycle(KINDS):
        if len(found) == n:
            return list(found.values())
        new = next(problem for problem in sources[kind] if problem.question not in found)
        found[new.question] = new
    raise AssertionError("a cycle does not end")


def _told(kind: str, seed: int) -> Iterator[tuple[str, Sum]]:
    rng = Random(f"{kind} {seed}")
    while True:
        yield STORIES[kind](rng)


def _gym(rule: _Gym, seed: int) -> Iterator[tuple[str, Sum]]:
    try:
        import reasoning_gym
    except ImportError as error:
        raise MissingExtra("reasoning-gym", "train") from error
    data = reasoning_gym.create_dataset(
        rule.dataset, size=_DRAWN, seed=Random(f"{rule.dataset} {seed}").randrange(_DRAWN), **rule.config
    )
    for at in range(_DRAWN):
        entry = data[at]
        yield entry["question"].strip(), rule.steps(entry)


def main() -> None:
    """Write held-out problems as a file that ``--tasks`` takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=80)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    rows = [{"question": x.question, "answer": x.answer, "kind": x.kind} for x in held_out(given.n, given.seed)]
    given.out.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
