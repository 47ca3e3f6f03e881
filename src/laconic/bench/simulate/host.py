"""What the engine itself adds to its passes, fitted to rounds of which both are known.

A round of n requests that scores m nodes after p draft passes, in which the requests took part g times together and
asked the length policy q times, costs besides its passes

    drafting = n * ask + p * draft_pass + g * guess + q * question
    rest     = round + n * request + m * node

and a request that joins costs ``join`` besides its prefill.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from laconic.bench.cost.nnls import nnls


@dataclass(frozen=True, slots=True)
class HostCost:
    """Seconds as in the module's docstring. ``error`` is the median relative residual of the fit."""

    round: float = 0.0
    request: float = 0.0
    node: float = 0.0
    ask: float = 0.0
    draft_pass: float = 0.0
    guess: float = 0.0
    question: float = 0.0
    join: float = 0.0
    error: float = 0.0

    def drafting(self, requests: int, passes: int, guesses: int, questions: int) -> float:
        """Work around draft passes; ``guesses`` are requests in them, summed over passes."""
        return self.ask * requests + self.draft_pass * passes + self.guess * guesses + self.question * questions

    def rest(self, requests: int, nodes: int) -> float:
        """Everything else of a round: verifying, writing, learning."""
        return self.round + self.request * requests + self.node * nodes

    def as_dict(self) -> dict[str, float]:
        """For records."""
        return asdict(self)


NOTHING = HostCost()


@dataclass(frozen=True, slots=True)
class Seen:
    """A round as it was: counts, and the seconds that were no pass, while drafting and otherwise."""

    requests: int
    nodes: int
    draft_passes: int
    guesses: int
    questions: int
    drafting: float
    rest: float


def fit(seen: Iterable[Seen], joins: Sequence[float] = ()) -> HostCost:
    """Least squares over the medians of rounds of one kind, each relative to its size, no coefficient negative."""
    kinds: dict[tuple[int, ...], list[Seen]] = defaultdict(list)
    for s in seen:
        kinds[s.requests, s.nodes, s.draft_passes, s.guesses, s.questions].append(s)
    if not kinds:
        return NOTHING
    groups = [(kind, group, len(group)) for kind, group in kinds.items()]
    (own, request, node), error = _solve(
        [(statistics.median(s.rest for s in group), (1, n, m), count) for (n, m, *_), group, count in groups]
    )
    (ask, draft_pass, guess, question), _ = _solve(
        [(statistics.median(s.drafting for s in group), (n, *parts), count) for (n, _, *parts), group, count in groups]
    )
    join = statistics.median(joins) if joins else 0.0
    return HostCost(own, request, node, ask, draft_pass, guess, question, join, error)


_Row = tuple[float, tuple[float, ...], int]
"""Seconds, features, and how often seen."""


def _solve(rows: Sequence[_Row]) -> tuple[tuple[float, ...], float]:
    """Coefficients of ``seconds = features @ coefficients``; kinds that were seen more often weigh more."""
    times = np.maximum(np.array([row[0] for row in rows]), 1e-9)
    features = np.array([row[1] for row in rows], dtype=float)
    weights = np.sqrt(np.array([row[2] for row in rows], dtype=float)) / times
    found = nnls(features * weights[:, None], times * weights)
    return tuple(map(float, found)), float(np.median(np.abs(features @ found / times - 1)))
