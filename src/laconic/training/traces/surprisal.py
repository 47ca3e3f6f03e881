"""How surprising a model finds what is written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing

from laconic.bench.along import read
from laconic.engine import Engine
from laconic.errors import TraceError
from laconic.thinking.base import chances

_LEAST = 1e-30
"""A probability below which surprise is not told apart."""


def logprobs(engine: Engine, before: Sequence[int], tokens: Sequence[int]) -> list[float]:
    """The natural logarithm of the probability of each of ``tokens`` after ``before``; its negative is surprise.

    Probabilities are those of the model itself, at temperature 1. Raises TraceError for a text that its context cannot
    hold.
    """
    if len(before) + len(tokens) > engine.target.context:
        raise TraceError("longer than the model's context")
    found: list[float] = []
    with closing(engine.target.open()) as slot:
        for scores in read(engine.target, slot, before, tokens):
            rows = scores.of(0)
            found += chances(rows, tokens[len(found) : len(found) + len(rows)])
    return [math.log(max(chance, _LEAST)) for chance in found]
