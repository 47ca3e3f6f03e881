"""``laconic run --memory``: a question that is reasoned about in several calls."""

from __future__ import annotations

import json as jsonlib
from typing import TYPE_CHECKING

import typer

from laconic.errors import RequestError

if TYPE_CHECKING:
    from laconic.engine import Engine
    from laconic.thinking.memory.base import Reasoner, Solved
    from laconic.types import Limits, Sampling


def reasoner(spec: str | None, *, no_think: bool, baseline: bool) -> Reasoner | None:
    """The reasoner that was asked for, if any. Raises MethodError, and RequestError for options that exclude it."""
    if spec is None:
        return None
    import laconic.methods  # noqa: F401  (fills the registry)
    from laconic.policy import registry
    from laconic.thinking.memory.base import Reasoner

    if no_think or baseline:
        raise RequestError(
            f"--memory does not go with {'--no-think' if no_think else '--baseline'}.",
            "Leave one of them out; laconic run without --memory is the comparison.",
        )
    made = registry.build("memory", spec)
    assert isinstance(made, Reasoner)
    return made


def solve(reasoner: Reasoner, question: str, engine: Engine, sampling: Sampling, limits: Limits, *, json: bool) -> None:
    """Answer the question, and say what every round was and left."""
    found = reasoner.solve(question, engine, sampling=sampling, limits=limits)
    if json:
        typer.echo(jsonlib.dumps(found.as_dict(), ensure_ascii=False))
        return
    for number, round in enumerate(found.rounds, start=1):
        calls = f"{len(round.results)} at once, " if len(round.results) > 1 else ""
        typer.echo(f"[{number}] {round.kind}: {calls}{sum(r.usage.generated for r in round.results)} tokens")
        if round.notes and (number == len(found.rounds) or round.notes != found.rounds[number].notes):
            typer.echo("\n".join(f"    | {line}" for line in round.notes.splitlines()))
    typer.echo(found.answer.strip())
    typer.echo(closing_line(found))


def closing_line(found: Solved) -> str:
    """One line on what it took."""
    parts = [
        f"{found.sequential} tokens one after the other",
        f"{found.usage.generated} in all",
        f"longest context {found.context}",
        f"{found.usage.tokens_per_pass:.2f} tokens per target pass",
    ]
    return " · ".join(parts + ["cut off at the token limit"] * (found.finish_reason == "length"))
