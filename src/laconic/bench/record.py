"""From trials to the numbers of a record: summaries, ratios, exactness, overhead, and one example."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any

from laconic.bench.measure import Trial
from laconic.bench.stats import bootstrap_median, bootstrap_ratio
from laconic.intervals import wilson
from laconic.types import Usage

COUNTS = ("thinking_tokens", "answer_tokens", "injected_tokens", "target_passes")


def counts(trial: Trial, name: str) -> dict[str, int]:
    """Tokens and passes of one trial under one variant."""
    usage = trial.results[name].usage
    return dict(zip(COUNTS, (usage.thinking, usage.answer, usage.injected, usage.target_passes), strict=True))


def summary(trials: Sequence[Trial], name: str) -> dict[str, Any]:
    """One variant over all trials. Tokens, passes and seconds are sums; ``mean`` holds them per problem.

    ``accuracy`` is that of the problems that can be judged, ``graded`` of them, and None where there are none.
    ``tokens_per_pass`` is all tokens that the model chose over all target passes.
    """
    usage = total(trials, name)
    judged = [trial.right[name] for trial in trials if trial.right[name] is not None]
    n, graded, right = len(trials), len(judged), sum(map(bool, judged))
    sums: dict[str, Any] = {key: sum(counts(trial, name)[key] for trial in trials) for key in COUNTS}
    sums["seconds"] = sum(trial.seconds[name] for trial in trials)
    return {
        "n": n,
        "graded": graded,
        "accuracy": right / graded if graded else None,
        "accuracy_ci": wilson(right, graded) if graded else None,
        **sums,
        "tokens_per_pass": usage.tokens_per_pass,
        "acceptance_rate": usage.acceptance_rate,
        "draft_passes": usage.draft_passes,
        "probe_passes": usage.probe_passes,
        "cut_off": sum(trial.results[name].finish_reason == "length" for trial in trials),
        "mean": {key: value / n for key, value in sums.items()},
        "usage": usage.as_dict(),
    }


def ratio(trials: Sequence[Trial], ours: str, other: str) -> dict[str, Any]:
    """``ours`` over ``other``; below 1 is less.

    ``seconds`` is the median over blocks (problems, in batch 1) of the ratio of their times, with a bootstrap
    interval; tokens and passes are ratios of sums. None where the other has nothing to divide by.
    """
    blocks: dict[int, list[Trial]] = {}
    for trial in trials:
        blocks.setdefault(trial.block, []).append(trial)
    times = [sum(t.seconds[ours] for t in block) / sum(t.seconds[other] for t in block) for block in blocks.values()]
    thinking = [(float(_thinking(t, ours)), float(_thinking(t, other))) for t in trials]
    return {
        "seconds": statistics.median(times),
        "seconds_ci": bootstrap_median(times),
        "seconds_total": _over(sum(t.seconds[ours] for t in trials), sum(t.seconds[other] for t in trials)),
        "thinking_tokens": _over(*map(sum, zip(*thinking, strict=True))),
        "thinking_tokens_ci": bootstrap_ratio(thinking),
        "target_passes": _over(total(trials, ours).target_passes, total(trials, other).target_passes),
    }


def identical(trials: Sequence[Trial], one: str, other: str) -> dict[str, Any]:
    """On how many prompts two variants wrote the very same tokens; ``differing`` names some where they did not."""
    differing = [
        trial.item.id
        for trial in trials
        if trial.results[one].tokens != trial.results[other].tokens
        or trial.results[one].finish_reason != trial.results[other].finish_reason
    ]
    return {
        "of": [one, other],
        "prompts": len(trials),
        "identical": len(trials) - len(differing),
        "differing": differing[:20],
    }


def all_identical(trials: Sequence[Trial], pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """On how many prompts both of every pair wrote the very same tokens, and each pair by itself."""
    checks = [identical(trials, one, other) for one, other in pairs]
    good = sum(all(trial.results[a].tokens == trial.results[b].tokens for a, b in pairs) for trial in trials)
    return {"prompts": len(trials), "identical": good, "checks": checks}


def overhead(trials: Sequence[Trial], name: str) -> dict[str, float]:
    """What laconic itself costs, beside the models' own passes: seconds by phase and their ``share`` of the passes.

    Bookkeeping is verification, controllers, and drafting less the draft model's passes.
    """
    seconds = total(trials, name).seconds
    drafting = min(sum(trial.draft_model_seconds[name] for trial in trials), seconds["draft"])
    own = {"draft": seconds["draft"] - drafting, "verify": seconds["verify"], "policy": seconds["policy"]}
    passes = seconds["score"] + drafting
    return {
        "share": sum(own.values()) / passes if passes else 0.0,
        **{f"{phase}_seconds": value for phase, value in own.items()},
        "target_pass_seconds": seconds["score"],
        "draft_pass_seconds": drafting,
    }


def paired(trials: Sequence[Trial], ours: str, other: str) -> dict[str, int]:
    """Problems that both, one or neither got right: ``lost`` were right under ``other`` alone, ``won`` under ours.

    Problems that nobody can judge are in none of these.
    """
    pairs = [(trial.right[ours], trial.right[other]) for trial in trials]
    return {
        "both": pairs.count((True, True)),
        "lost": pairs.count((False, True)),
        "won": pairs.count((True, False)),
        "neither": pairs.count((False, False)),
    }


def rows(trials: Sequence[Trial], names: Sequence[str]) -> list[dict[str, Any]]:
    """Every problem: what each variant answered, whether that was right, and what it took."""
    return [
        {
            "id": trial.item.id,
            "kind": trial.item.kind,
            "question": trial.item.question,
            "answer": trial.item.answer,
            "variants": {
                name: {
                    "answer": trial.results[name].answer,
                    "right": trial.right[name],
                    "seconds": trial.seconds[name],
                    **counts(trial, name),
                    "events": [f"{e.method}: {e.action} at {e.tokens}, {e.reason}" for e in trial.results[name].events],
                }
                for name in names
            },
        }
        for trial in trials
    ]


def in_words(reports: dict[str, dict[str, Any]]) -> list[str]:
    """A sentence for each method that has something to tell of what it learned (see Engine.reports)."""
    return [f"{spec.partition(':')[0]}: {report['says']}" for spec, report in reports.items()]


def example(trials: Sequence[Trial], ours: str, other: str) -> dict[str, Any] | None:
    """A typical problem that both got right, with the part of the other's thought that ours did without.

    The one whose saving is nearest to the median; None if no thought became shorter.
    """
    shorter = [
        trial
        for trial in trials
        if trial.right[ours] and trial.right[other] and 0 < _thinking(trial, ours) < _thinking(trial, other)
    ]
    if not shorter:
        return None
    savings = {trial.item.id: 1 - _thinking(trial, ours) / _thinking(trial, other) for trial in shorter}
    middle = statistics.median(savings.values())
    chosen = min(shorter, key=lambda trial: abs(savings[trial.item.id] - middle))
    mine, whole = chosen.results[ours], chosen.results[other]
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(mine.thinking, whole.thinking, strict=False)))
    return {
        "id": chosen.item.id,
        "question": chosen.item.question,
        "right": chosen.item.answer,
        "kept": whole.thinking[:same],
        "dropped": whole.thinking[same:],
        "added": mine.thinking[same:],
        "answer": mine.answer,
        "why": [event.reason for event in mine.events],
        "thinking_tokens": {name: _thinking(chosen, name) for name in (ours, other)},
    }


def _thinking(trial: Trial, name: str) -> int:
    return trial.results[name].usage.thinking


def total(trials: Sequence[Trial], name: str) -> Usage:
    """The sum of a variant's usage over all trials."""
    added = Usage()
    for trial in trials:
        added.add(trial.results[name].usage)
    return added


def _over(above: float, below: float) -> float | None:
    return above / below if below else None
