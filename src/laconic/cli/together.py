"""``laconic run --together``: a question that two models answer, step by step."""

from __future__ import annotations

import json as jsonlib
from typing import TYPE_CHECKING, Any

import typer

from laconic.errors import RequestError

if TYPE_CHECKING:
    from laconic.collaboration.base import Collaborated, Collaboration
    from laconic.engine import Engine
    from laconic.types import Limits, Sampling


def policy(spec: str | None, small: str | None, *, excluded: dict[str, bool]) -> Collaboration | None:
    """The policy that was asked for, if any. Raises MethodError, and RequestError for options that exclude it."""
    if spec is None:
        if small is not None:
            raise RequestError("--small-model goes with --together.", "Name a method, e.g. --together spec-reason.")
        return None
    import laconic.methods  # noqa: F401  (fills the registry)
    from laconic.collaboration.base import Collaboration
    from laconic.policy import registry

    if small is None:
        raise RequestError("--together needs a second, smaller model.", "Name it with --small-model.")
    for option, given in excluded.items():
        if given:
            raise RequestError(f"--together does not go with {option}.", "Leave one of them out.")
    made = registry.build("collaboration", spec)
    assert isinstance(made, Collaboration)
    return made


def second(name: str, engine: Engine, given: dict[str, Any]) -> Engine:
    """The small model's engine, under the same controllers as the large one's, and spoken to in its own way."""
    from laconic.engine import Engine as Own

    return Own.load(name, dtype=given["dtype"], device=given["device"], think=engine.methods.think)


def answer(
    policy: Collaboration,
    question: str,
    large: Engine,
    small: Engine,
    sampling: Sampling,
    limits: Limits,
    *,
    json: bool,
) -> None:
    """Answer the question, and say who wrote what."""
    from laconic.collaboration.together import Pair

    found = Pair(large, small).answer(question, policy, sampling=sampling, limits=limits)
    if json:
        typer.echo(jsonlib.dumps(found.as_dict(), ensure_ascii=False))
        return
    for piece in found.pieces:
        score = "" if piece.score is None else f", score {piece.score:.2f}"
        mark = "refused" if piece.refused else piece.side
        typer.echo(f"[{mark}{score}] {piece.text.strip()}")
    typer.echo(found.result.answer.strip())
    typer.echo(closing_line(found))


def closing_line(found: Collaborated) -> str:
    """One line on what it took."""
    parts = [
        f"{found.share:.0%} of the thought by the large model",
        f"{found.refused} tokens refused",
        f"{found.large.target_passes} passes of the large model, {found.small.target_passes} of the small one",
        f"{found.seconds:.1f} s",
    ]
    return " · ".join(parts + ["cut off at the token limit"] * (found.finish_reason == "length"))
