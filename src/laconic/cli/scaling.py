"""``laconic run --scaling``: a question answered by several attempts, with what stands so far."""

from __future__ import annotations

import json as jsonlib
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from laconic.errors import RequestError

if TYPE_CHECKING:
    from laconic.engine import Engine
    from laconic.scaling.base import Answered, Scaling, Standing
    from laconic.types import Limits, Sampling


def policy(spec: str | None, attempts: int | None, *, excluded: dict[str, bool]) -> Scaling | None:
    """The policy that was asked for, if any. Raises MethodError, and RequestError for options that exclude it."""
    if spec is None:
        if attempts is not None:
            raise RequestError("--attempts goes with --scaling.", "Name a method, e.g. --scaling enough.")
        return None
    import laconic.methods  # noqa: F401  (fills the registry)
    from laconic.policy import registry
    from laconic.scaling.base import Scaling

    for option, given in excluded.items():
        if given:
            raise RequestError(f"--scaling does not go with {option}.", "Leave one of them out.")
    made = registry.build("scaling", spec)
    assert isinstance(made, Scaling)
    return made


def answer(
    policy: Scaling, most: int, question: str, engine: Engine, sampling: Sampling | None, limits: Limits, *,
    thinking: bool, json: bool,
) -> bool:  # fmt: skip
    """Answer the question while one watches; says whether it was broken off."""
    options: dict[str, Any] = {"limits": limits, "thinking": thinking}
    if sampling is not None:
        options["sampling"] = sampling
    answering = engine.answering(question, scaling=policy, n=most, **options)
    console, interrupted = Console(highlight=False), False
    live = Live(console=console, transient=True, auto_refresh=False) if console.is_terminal and not json else None
    try:
        if live is not None:
            live.start()
        for standing in answering:
            if live is not None:
                live.update(Text(line(standing), "cyan"), refresh=True)
    except KeyboardInterrupt:
        answering.close()
        interrupted = True
    finally:
        if live is not None:
            live.stop()
    found = answering.result
    if json:
        typer.echo(jsonlib.dumps(found.as_dict(), ensure_ascii=False))
    else:
        for told in attempts(found):
            typer.echo(told)
        typer.echo(found.result.answer.strip())
        typer.echo(closing_line(found))
    return interrupted


def line(standing: Standing) -> str:
    """What stands so far."""
    said = f"{standing.answer} ({standing.confidence:.0%})" if standing.candidates else "no answer yet"
    return f"{said} · {standing.attempts} attempts, {standing.running} under way · {standing.tokens} tokens"


def attempts(found: Answered) -> list[str]:
    """One line an attempt."""
    return [
        f"[{number}] {tried.answer or 'no answer'}: {tried.result.usage.generated} tokens"
        + (f" behind {tried.taken} of [{tried.parent + 1}]" if tried.parent >= 0 else "")
        + (f", {tried.state}: {tried.reason}" if tried.reason else "")
        for number, tried in enumerate(found.attempts, start=1)
    ]


def closing_line(found: Answered) -> str:
    """One line on what it took."""
    parts = [
        f"confidence {found.confidence:.2f}",
        f"{len(found.attempts)} attempts",
        f"{found.usage.generated} tokens in all, {found.sequential} in the longest",
        *([f"{found.passes} passes"] if found.passes else []),
        f"{found.seconds:.1f} s",
        found.reason,
    ]
    return " · ".join(parts)
