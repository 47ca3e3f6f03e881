"""Measure a checkpoint on held-out problems.

python -m laconic.models.reasoner.evaluate --model DIR [--draft DIR] --n 600 --json FILE
"""

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from laconic.intervals import wilson

from . import draft_path, target_path
from .habits import is_verbatim, rechecks, share_after_first_right, stated_results, steps
from .problems import KINDS, Problem, problems, score
from .rollout import Belief, Reasoner, Rollout, draft_agreement


def share(values: Sequence[bool]) -> dict[str, Any]:
    """A share with its confidence interval and the number of cases."""
    low, high = wilson(sum(values), len(values))
    return {"share": sum(values) / max(1, len(values)), "low": low, "high": high, "n": len(values)}


def auc(above: Sequence[float], below: Sequence[float]) -> float | None:
    """The probability that a value of the first list is above one of the second, ties counted half."""
    if not above or not below:
        return None
    wins = sum((one > other) + 0.5 * (one == other) for one in above for other in below)
    return wins / (len(above) * len(below))


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Mean and some quantiles."""
    ordered = sorted(values)
    points = {f"p{q}": float(ordered[min(len(ordered) - 1, len(ordered) * q // 100)]) for q in (5, 25, 50, 75, 95)}
    return {"mean": statistics.fmean(ordered), **points, "max": float(ordered[-1])}


def evaluate(reasoner: Reasoner, tasks: Sequence[Problem], draft: Reasoner | None = None) -> dict[str, Any]:
    """Accuracy, habits and confidence of a model on problems; all of it greedy."""
    rollouts = reasoner.answer([task.question for task in tasks])
    right = [score(task, rollout.answer) for task, rollout in zip(tasks, rollouts, strict=True)]
    by: dict[str, dict[str, list[bool]]] = {"kind": defaultdict(list), "difficulty": defaultdict(list)}
    for task, ok in zip(tasks, right, strict=True):
        by["kind"][task.kind].append(ok)
        by["difficulty"][f"{task.kind} {task.difficulty}"].append(ok)
    report: dict[str, Any] = {
        "n": len(tasks),
        "accuracy": share(right),
        "by_kind": {name: share(values) for name, values in by["kind"].items()},
        "by_difficulty": {name: share(values) for name, values in sorted(by["difficulty"].items())},
        "answered": share([bool(rollout.answer) for rollout in rollouts]),
        "thinking_tokens": quantiles([rollout.thinking_tokens for rollout in rollouts]),
        **_habits(reasoner, tasks, rollouts),
        **_confidence(reasoner, tasks, rollouts, right),
    }
    if draft is not None:
        report["draft"] = draft_agreement(reasoner, draft, rollouts[:200])
    return report


def _habits(reasoner: Reasoner, tasks: Sequence[Problem], rollouts: Sequence[Rollout]) -> dict[str, Any]:
    after = sum(
        share_after_first_right(rollout.thought, int(task.answer), reasoner.count) * rollout.thinking_tokens
        for task, rollout in zip(tasks, rollouts, strict=True)
    )
    checks = [(check, rollout.thought) for rollout in rollouts for check in rechecks(rollout.thought)]
    return {
        "share_after_first_right": after / sum(rollout.thinking_tokens for rollout in rollouts),
        "rechecks_per_thought": len(checks) / len(rollouts),
        "rechecks_by_another_route": share([not is_verbatim(check, thought) for check, thought in checks]),
    }


def _confidence(
    reasoner: Reasoner, tasks: Sequence[Problem], rollouts: Sequence[Rollout], right: Sequence[bool]
) -> dict[str, Any]:
    """Close every thought by force after each of its steps, and see what the model then answers, and how surely."""
    places = [(at, k + 1) for at, rollout in enumerate(rollouts) for k in range(len(steps(rollout.thought)))]
    cut = ["\n\n".join(steps(rollouts[at].thought)[:k]) for at, k in places]
    found = reasoner.beliefs([tasks[at].question for at, _ in places], cut)
    probes: list[list[tuple[str, Belief]]] = [[] for _ in tasks]
    for (at, _), text, belief in zip(places, cut, found, strict=True):
        probes[at].append((text, belief))

    forced: list[bool] = []
    sure: list[float] = []
    unsure: list[float] = []
    easy: list[float] = []
    before: list[float] = []
    for task, rollout, ok, tried in zip(tasks, rollouts, right, probes, strict=True):
        stated = stated_results(rollout.thought)
        first = next(((b, i) for i, (text, b) in enumerate(tried) if stated_results(text)), None)
        if first is None or not stated:
            forced.append(ok)
            continue
        forced.append(score(task, first[0].answer))
        before += [b.probability for _, b in tried[: first[1]]]
        good = stated[0].value == int(task.answer)
        (sure if good else unsure).append(first[0].probability)
        if good and task.difficulty == 1:
            easy.append(first[0].probability)
    exits = {str(level): _exit(reasoner, tasks, rollouts, right, probes, level) for level in (0.8, 0.9, 0.95, 0.99)}
    return {
        "first_result_right": share([True] * len(sure) + [False] * len(unsure)),
        "forced_at_first_result": share(forced),
        "belief_at_first_result": {
            "right": quantiles(sure) if sure else None,
            "right_and_easy": quantiles(easy) if easy else None,
            "wrong": quantiles(unsure) if unsure else None,
            "auc": auc(sure, unsure),
        },
        "belief_before_first_result": quantiles(before) if before else None,
        "exit_when_sure": exits,
    }


def _exit(
    reasoner: Reasoner, tasks: Sequence[Problem], rollouts: Sequence[Rollout], right: Sequence[bool],
    probes: Sequence[Sequence[tuple[str, Belief]]], level: float,
) -> dict[str, float]:  # fmt: skip
    """Accuracy and saving when each thought ends at its first step boundary with a belief above `level`."""
    good, kept = 0, 0
    for task, rollout, ok, tried in zip(tasks, rollouts, right, probes, strict=True):
        stop = next(((text, belief) for text, belief in tried if belief.probability > level), None)
        good += ok if stop is None else score(task, stop[1].answer)
        kept += rollout.thinking_tokens if stop is None else reasoner.count(stop[0])
    total = sum(rollout.thinking_tokens for rollout in rollouts)
    return {
        "accuracy": good / len(tasks),
        "accuracy_change": (good - sum(right)) / len(tasks),
        "thinking_saved": 1 - kept / total,
    }


def held_out_tasks(n: int, seed: int) -> list[Problem]:
    """About `n` held-out problems, as many of each kind."""
    each = -(-n // len(KINDS))
    return [task for kind in KINDS for task in problems(kind, each, seed)]


def evaluate_pair(target: Path, draft: Path, n: int, seed: int = 1) -> dict[str, Any]:
    """Evaluate a target with its draft, and the draft's own accuracy on a part of the problems."""
    tasks, small = held_out_tasks(n, seed), Reasoner(draft)
    report = evaluate(Reasoner(target), tasks, small)
    alone = tasks[:: max(1, len(tasks) // 140)]
    rollouts = small.answer([task.question for task in alone], limit=500)
    report["draft_alone"] = share([score(task, r.answer) for task, r in zip(alone, rollouts, strict=True)])
    return report


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=target_path())
    parser.add_argument("--draft", type=Path, default=draft_path())
    parser.add_argument("--n", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    report = evaluate_pair(given.model, given.draft, given.n, given.seed)
    text = json.dumps(report, indent=1)
    if given.json:
        given.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
