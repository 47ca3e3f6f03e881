"""How laconic stands among its peers: each variant of ours beside the fastest of those that do the same."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from laconic.bench.measure import Trial
from laconic.bench.stats import bootstrap_median

PLAIN = ("transformers", "vllm", "llama.cpp")
"""Peers that score one token a pass; the others speculate."""

Measure = Callable[[Trial, str], float]


def standing(trials: Sequence[Trial], peers: Sequence[str]) -> list[dict[str, Any]]:
    """What a reader wants to know first, as a list of comparisons; above 1, ours is faster.

    Plain decoding and speculation alone are compared by tokens a second, since in half precision texts part at near
    ties; the default configuration, which writes fewer tokens, by time per problem. ``ratio`` is of sums over all
    problems, ``median`` that of single problems, with a bootstrap interval. The peer is the one fastest by sums.
    """
    plain = [name for name in peers if name in PLAIN]
    speculating = [name for name in peers if name not in PLAIN]
    wanted: list[tuple[str, str, Sequence[str], Measure]] = [
        ("baseline", "plain decoding", plain, _written),
        ("speculation", "speculating", speculating, _written),
        ("laconic", "plain decoding", plain, _one),
        ("laconic", "speculating", speculating, _one),
    ]
    return [
        _compare(trials, ours, kind, among, amount)
        for ours, kind, among, amount in wanted
        if among and all(ours in trial.results for trial in trials)
    ]


def _compare(trials: Sequence[Trial], ours: str, kind: str, among: Sequence[str], amount: Measure) -> dict[str, Any]:
    def speed(name: str, chosen: Sequence[Trial] = trials) -> float:
        return sum(amount(trial, name) for trial in chosen) / sum(trial.seconds[name] for trial in chosen)

    peer = max(among, key=speed)
    each = [speed(ours, [trial]) / speed(peer, [trial]) for trial in trials if amount(trial, peer)]
    return {
        "ours": ours,
        "peer": peer,
        "among": kind,
        "by": "tokens a second" if amount is _written else "time per problem",
        "ratio": speed(ours) / speed(peer),
        "median": statistics.median(each),
        "median_ci": bootstrap_median(each),
    }


def _written(trial: Trial, name: str) -> float:
    usage = trial.results[name].usage
    return float(usage.thinking + usage.answer)


def _one(trial: Trial, name: str) -> float:
    return 1.0
