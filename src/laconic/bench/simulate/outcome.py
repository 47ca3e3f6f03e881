"""What a simulated run comes to: rates, delays, passes, and where the time went."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from laconic.bench.simulate.history import History, Served

_SLICES = 40
"""Points of a run over time."""
PHASES = ("prefill", "draft", "score", "host", "idle")


def summary(history: History, slo: float | None = None) -> dict[str, Any]:
    """A record of one run.

    Rates are written tokens over the whole time, idle time included. ``time_per_token`` of a request is the time from
    its first token to its last over the tokens after the first; ``first_token`` and ``latency`` count from its arrival.
    ``within`` is the rate of tokens of requests whose latency was at most ``slo`` seconds, None without one. Prefills
    and rounds are counted apart: passes, nodes a pass and so on speak of rounds alone, and the tokens of short prompts,
    which are scored with the first draft, are no nodes here. Passes of the draft model are ``draft_passes``. Times are
    in seconds.
    """
    done = [served for served in history.served if served.finished is not None]
    rounds = [each for each in history.rounds if each.requests]
    prefills = [each for each in history.rounds if not each.requests]
    written = sum(each.tokens for each in rounds)
    seconds = max((each.ended for each in history.rounds), default=0.0)
    drafted = sum(served.drafted for served in history.served)
    phases = dict.fromkeys(PHASES, 0.0) | {"idle": history.idle}
    for each in history.rounds:
        for phase in PHASES[:-1]:
            phases[phase] += getattr(each, phase)
    return {
        "requests": len(done),
        "refused": len(history.refused),
        "seconds": seconds,
        "tokens": written,
        "goodput": _over(written, seconds),
        "requests_per_second": _over(len(done), seconds),
        "within": None if slo is None else _over(sum(s.written for s in done if _latency(s) <= slo), seconds),
        "within_share": None if slo is None else _over(sum(_latency(s) <= slo for s in done), len(done)),
        "decode_rate": _over(written, seconds - history.idle - phases["prefill"]),
        "passes": len(rounds),
        "tokens_per_pass": _over(written, len(rounds)),
        "requests_per_pass": _over(sum(each.requests for each in rounds), len(rounds)),
        "tokens_per_request_pass": _over(written, sum(each.requests for each in rounds)),
        "nodes_per_pass": _over(sum(each.nodes - each.given for each in rounds), len(rounds)),
        "draft_passes": sum(each.draft_passes for each in rounds),
        "drafted": drafted,
        "accepted": sum(served.accepted for served in history.served),
        "acceptance_rate": sum(s.accepted for s in history.served) / drafted if drafted else None,
        "prefills": sum(each.prefill > 0 for each in prefills),
        "ties": sum(each.ties for each in rounds),
        "prompt_tokens": sum(served.job.script.prompt for served in done),
        "first_token": quantiles([s.first - s.arrived for s in done if s.first is not None]),
        "time_per_token": quantiles([pace for s in done if (pace := _pace(s)) is not None]),
        "latency": quantiles([_latency(s) for s in done]),
        "waiting": quantiles([s.joined - s.arrived for s in done]),
        "phases": phases,
        "over_time": over_time(history, seconds),
    }


def _latency(served: Served) -> float:
    assert served.finished is not None
    return served.finished - served.arrived


def _pace(served: Served) -> float | None:
    if served.finished is None or served.first is None or served.written < 2:
        return None
    return (served.finished - served.first) / (served.written - 1)


def _over(a: float, b: float) -> float:
    return a / b if b else 0.0


def quantiles(values: Sequence[float]) -> dict[str, float] | None:
    """Mean, and the values that 50, 95 and 99 % do not exceed (the smallest such); None without values."""
    if not values:
        return None
    ordered = sorted(values)
    at = {f"p{share}": ordered[max(-(-len(ordered) * share // 100), 1) - 1] for share in (50, 95, 99)}
    return {"mean": statistics.fmean(ordered)} | at


def over_time(history: History, seconds: float, slices: int = _SLICES) -> list[dict[str, float]]:
    """Equal slices of time: tokens a second, requests at work and waiting, drafted tokens a request's round.

    A round counts for the slice in which it ends.
    """
    if not seconds:
        return []
    width = seconds / slices
    sums = [[0.0] * 5 for _ in range(slices)]
    for each in history.rounds:
        if each.requests:
            mine = sums[min(int(each.ended / width), slices - 1)]
            for i, value in enumerate(
                (each.tokens, each.requests, each.waiting, each.nodes - each.given - each.requests, 1)
            ):  # fmt: skip
                mine[i] += value
    return [
        {
            "at": (i + 0.5) * width,
            "goodput": tokens / width,
            "active": _over(requests, rounds),
            "waiting": _over(waiting, rounds),
            "drafted": _over(drafted, requests),
        }
        for i, (tokens, requests, waiting, drafted, rounds) in enumerate(sums)
    ]
