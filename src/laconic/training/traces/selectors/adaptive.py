"""Rows by how difficult their problems are for the model itself."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated

from pydantic import BeforeValidator, Field

from laconic.errors import TraceError
from laconic.policy import Card, knobs
from laconic.training.traces.base import Fact, Selector


def _split(given: object) -> object:
    return tuple(given.split("/")) if isinstance(given, str) else given


Weights = Annotated[
    tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...], BeforeValidator(_split), Field(min_length=2)
]
"""A knob: numbers, written 5/4/3."""


@knobs
class Adaptive(Selector):
    """Rows drawn so that the difficulties of their problems have a given distribution, fewer the harder.

    LLM-adaptive difficulty grading (catalogue 163): questions are graded by what the model to be trained itself makes
    of them, and drawn by a distribution over five levels whose weights fall with difficulty; the authors do not fix
    them. Here the grade is the pass rate in equal steps, the easiest level being the highest rate; theirs comes from
    a process reward model where an answer is wrong. A level that has too few rows gives all it has, and no other
    takes its place.
    """

    card = Card(paper="LLM-Adaptive Question Difficulty Grading", lossless=False, catalogue=(163,))

    weights: Weights = (5, 4, 3, 2, 1)
    """How many rows the levels shall have, in proportion, the easiest first. Written 5/4/3/2/1."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of all rows that would be kept if no level had too few."""

    def choose(self, facts: Sequence[Fact], random: random.Random) -> list[int]:
        """In the order in which they came. Raises TraceError where weights are all 0."""
        if not any(self.weights):
            raise TraceError("all weights of the levels are 0.", "Give one that is more.")
        levels: list[list[int]] = [[] for _ in self.weights]
        for at, fact in enumerate(facts):
            levels[min(int((1 - (fact.pass_rate or 0.0)) * len(levels)), len(levels) - 1)].append(at)
        whole = self.share * len(facts) / sum(self.weights)
        drawn = [
            random.sample(rows, min(round(w * whole), len(rows))) for w, rows in zip(self.weights, levels, strict=True)
        ]
        return sorted(at for rows in drawn for at in rows)
