"""Rows as TRL reads them, one JSON object a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from laconic.training.traces.base import Example, Fact, Pair
from laconic.training.traces.rendering import Renderer
from laconic.training.traces.trace import Problem


def line(problem: Problem, row: Example | Pair, renderer: Renderer, method: str) -> dict[str, Any] | None:
    """A row: ``prompt`` and ``completion`` of an example, ``prompt``, ``chosen`` and ``rejected`` of a pair.

    Beside them it says its ``problem``, the ``trace`` that it was made of, where that was recorded (``source``), the
    ``method``, and tokens of the reply ``before`` and ``after``. None for a pair of which both are the same.
    """
    chosen = row.chosen if isinstance(row, Pair) else row
    messages = asked(problem, chosen)
    completion = renderer.completion(messages, chosen.thought, chosen.reply)
    told: dict[str, Any] = {"prompt": renderer.prompt(messages).text}
    before, sizes = chosen.trace.tokens, {}
    if isinstance(row, Pair):
        rejected = renderer.completion(messages, row.rejected.thought, row.rejected.reply)
        if rejected == completion:
            return None
        told |= {"chosen": completion, "rejected": rejected}
        before = renderer.tokens(rejected)
        sizes["rejected_trace"] = row.rejected.trace.id
    else:
        told["completion"] = completion
    return {
        **told,
        "problem": problem.id,
        "trace": chosen.trace.id,
        **sizes,
        "source": chosen.trace.where,
        "method": method,
        "tokens_before": before,
        "tokens_after": renderer.tokens(completion),
        **chosen.note,
    }


def asked(problem: Problem, example: Example) -> tuple[Mapping[str, Any], ...]:
    """The problem's messages, with what the example puts around the question."""
    if not example.prefix and not example.suffix:
        return problem.messages
    messages = [dict(message) for message in problem.messages]
    last = max(at for at, message in enumerate(messages) if message.get("role") == "user")
    before = f"{example.prefix}\n\n" if example.prefix else ""
    messages[last]["content"] = f"{before}{messages[last]['content']}{example.suffix}"
    return tuple(messages)


def fact(row: Mapping[str, Any], problem: int, pass_rate: float | None, attempts: int, renderer: Renderer) -> Fact:
    """What a selector is told of a row."""
    before, after = int(row["tokens_before"]), int(row["tokens_after"])
    whole = renderer.tokens(row["prompt"]) + (max(before, after) if "rejected" in row else after)
    return Fact(problem, pass_rate, attempts, before, after, whole)
