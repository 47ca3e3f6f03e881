"""A simulation's record in words and cells: what its table and its page say alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from laconic.bench.replay.wording import left_out

Record = dict[str, Any]
Run = Mapping[str, Any]

COLUMNS = {
    "tokens / s": "written tokens a second, over the whole time of the load, idle time included (goodput)",
    "/ plain": "that over plain decoding (`none`) under the same load",
    "first (95 %)": "time from a request's arrival to its first token; 95 % of the requests wait no longer",
    "per token": "time from the first to the last token over the tokens after the first, median of requests",
    "done (95 %)": "time from arrival to the last token; 95 % of the requests are done by then",
    "tokens / pass": "written tokens per target pass and request in it",
    "nodes": "nodes scored in a target pass, over all requests; prompts do not count",
    "time in %": "of the time that is not idle: target passes, drafting, prefills, and what the engine does besides",
}


def cells(run: Run, plain: Run | None) -> tuple[str, ...]:
    """One policy under one load, in the order of ``COLUMNS``."""
    phases = run["phases"]
    busy = sum(phases.values()) - phases["idle"] or 1.0
    return (
        f"{run['goodput']:,.0f}",
        f"{run['goodput'] / plain['goodput']:.2f}" if plain and plain["goodput"] else "-",
        _at(run["first_token"], "p95"),
        _at(run["time_per_token"], "p50"),
        _at(run["latency"], "p95"),
        f"{run['tokens_per_request_pass']:.2f}",
        f"{run['nodes_per_pass']:.0f}",
        " ".join(f"{100 * phases[name] / busy:.0f}" for name in ("score", "draft", "prefill", "host")),
    )


def _at(quantiles: Run | None, which: str) -> str:
    return "-" if quantiles is None else seconds(quantiles[which])


def seconds(value: float) -> str:
    """A time in a unit that suits it.

    >>> seconds(0.00234), seconds(1.5), seconds(240)
    ('2.3ms', '1.5s', '240s')
    """
    if value < 0.9995:
        return f"{1000 * value:.2g}ms" if value < 0.00995 else f"{1000 * value:.0f}ms"
    return f"{value:.1f}s" if value < 99.95 else f"{value:.0f}s"


def title(record: Record) -> str:
    """What was simulated."""
    setup, texts = record["setup"], record["recording"]
    return (
        f"{setup['requests']} requests a load from {texts['texts']} recorded texts; target {setup['cost']}, "
        f"draft {setup['draft_cost']}, at most {setup['max_batch']} at once"
    )


def about(record: Record) -> list[str]:
    """Sentences: the best policy of each load, and what was left out."""
    said = [
        f"the draft model's favourite was the written token at {record['recording']['hit_rate']:.0%} of "
        f"{record['recording']['tokens']:,} recorded positions"
    ]
    for point in record["loads"]:
        runs = point["policies"]
        best = max(runs, key=lambda name: runs[name]["goodput"])
        said.append(f"{point['load']}: most tokens a second with {best}{_over(runs, best)}{_bound(record, runs)}")
        refused = next(iter(runs.values()))["refused"]
        if refused:
            said.append(f"REFUSED under {point['load']}: {refused} requests are larger than the server's memory")
    said += left_out(record["recording"]["left_out"], "of the recording ")
    said += left_out(record["trace_left_out"], "of the trace ")
    if record["interrupted"]:
        said.append("interrupted: these are the loads that were complete")
    return said


def _over(runs: Mapping[str, Run], best: str) -> str:
    plain = runs.get("none")
    if plain is None or best == "none" or not plain["goodput"]:
        return ""
    return f", {runs[best]['goodput'] / plain['goodput']:.2f} times those of plain decoding"


def _bound(record: Record, runs: Mapping[str, Run]) -> str:
    slo = record["setup"]["slo"]
    if slo is None:
        return ""
    best = max(runs, key=lambda name: runs[name]["within"])
    rate, share = runs[best]["within"], runs[best]["within_share"]
    return f"; most within {seconds(slo)} with {best} ({rate:,.0f} tokens a second, {share:.0%} of requests)"
