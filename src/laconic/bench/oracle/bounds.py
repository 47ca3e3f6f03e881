"""How much of what a clairvoyant would have saved a comparison's configuration has reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from laconic.bench.measure import Trial
from laconic.bench.oracle.length import Costs, Outlook, best, best_fixed, fixed, matches, outlook_by_asking, outlook_of
from laconic.bench.oracle.thought import Scan, scan
from laconic.bench.record import total
from laconic.engine import Engine
from laconic.intervals import wilson
from laconic.policy import registry
from laconic.speculation.base import Drafter, Tools
from laconic.types import Request

Ask = Callable[[str], Request]
"""From a question to the request that was served."""


def thought(engine: Engine, trials: Sequence[Trial], ask: Ask, ours: str, free: str) -> dict[str, Any] | None:
    """Bound of an early end of thinking: the shortest prefixes of the ``free`` thoughts that suffice.

    ``share`` is the saving of ``ours`` over the oracle's; it can pass 1 where the oracle keeps a whole thought that
    never gives the right answer. None where no thought of ``free`` came to an end that can be judged.
    """
    scans: list[tuple[Trial, Scan]] = []
    for trial in trials:
        if trial.item.grade is None:
            continue
        request, tokens = ask(trial.item.question), trial.results[free].tokens
        found = scan(engine.target, engine.text, request, tokens, trial.item.grade)
        if found is not None:
            scans.append((trial, found))
    if not scans:
        return None
    whole = sum(trial.results[free].usage.thinking for trial, _ in scans)
    mine = sum(trial.results[ours].usage.thinking for trial, _ in scans)
    least = sum(found.thinking for _, found in scans)
    sure = [found for _, found in scans if found.bisected is not None]
    right = sum(found.first is not None for _, found in scans)
    return {
        "n": len(scans),
        "endings": sum(len(found.endings) for _, found in scans) / len(scans),
        "thinking_tokens": {"free": whole, "oracle": least, "ours": mine},
        "accuracy": right / len(scans),
        "accuracy_ci": wilson(right, len(scans)),
        "share": (whole - mine) / (whole - least) if whole > least else None,
        "bisection": {
            "n": len(sure),
            "same": sum(found.bisected == found.first for found in sure),
            "thinking_tokens": sum(found.endings[cast(int, found.bisected)].thinking for found in sure),
            "scan_thinking_tokens": sum(found.thinking for found in sure),
        },
    }


def length(engine: Engine, trials: Sequence[Trial], ask: Ask, ours: str, plain: str) -> dict[str, Any] | None:
    """Bound of draft lengths: the cheapest schedule for the texts of ``plain``, given what passes cost in this run.

    ``ours`` speculates and writes the same texts. Times are in passes over one token. ``share`` is the time saved over
    what the best schedule saves. None where it is not defined: sampled drafts, no drafts, a
    drafter made of several or one that listens to the target.
    """
    drafter = engine.plan.drafter
    costs = _costs(trials, ours, plain)
    many = len(list(drafter.walk())) > 1
    if costs is None or many or drafter.listens or any(not trial.results[plain].tokens for trial in trials):
        return None
    outlooks = [_outlook(engine, ask(trial.item.question), trial.results[plain].tokens) for trial in trials]
    usage = total(trials, ours)
    spent = usage.target_passes * costs.target + usage.drafted * (costs.node + costs.draft)
    tokens = sum(map(len, outlooks))
    without = tokens * costs.target
    schedules = [best(outlook, costs) for outlook in outlooks]
    least = sum(schedule.cost for schedule in schedules)
    fixed_length, fixed_cost = best_fixed(outlooks, costs)
    return {
        "costs": {"node": costs.node / costs.target, "draft": costs.draft / costs.target},
        "time": {
            "plain": without / costs.target,
            "ours": spent / costs.target,
            "oracle": least / costs.target,
            "best_fixed": fixed_cost / costs.target,
        },
        "best_fixed_length": fixed_length,
        "tokens_per_pass": {
            "ours": usage.tokens_per_pass,
            "oracle": tokens / sum(schedule.passes for schedule in schedules),
            "best_fixed": tokens / sum(fixed(outlook, fixed_length, costs).passes for outlook in outlooks),
        },
        "share": (without - spent) / (without - least) if without - least > 1e-6 * without else None,
    }


def _outlook(engine: Engine, request: Request, tokens: Sequence[int]) -> Outlook:
    drafter = engine.plan.drafter
    if drafter.needs.draft_model and drafter.knows_distribution:  # its guess at each token is the model's own
        assert engine.draft_model is not None
        return outlook_of(matches(engine.draft_model, request.prompt, tokens))
    fresh = cast(Drafter, registry.build("drafter", drafter.spec()))
    tools = Tools(engine.draft_model, engine.plan.shape, engine.target.vocab_size)
    return outlook_by_asking(fresh, tools, request, tokens)


def _costs(trials: Sequence[Trial], ours: str, plain: str) -> Costs | None:
    """Costs from the run itself: a pass over one token, and what drafted tokens added to it."""
    one, many = total(trials, plain), total(trials, ours)
    if not many.drafted or not one.target_passes or not one.seconds["score"]:
        return None
    target = one.seconds["score"] / one.target_passes
    node = max(0.0, (many.seconds["score"] - many.target_passes * target) / many.drafted)
    return Costs(target, node, many.seconds["draft"] / many.drafted)
