"""What the commands of ``laconic fit`` share: where they write, and the requests whose texts they learn from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from laconic.errors import RequestError

if TYPE_CHECKING:
    from laconic.bench.fit.head_run import Batches
    from laconic.bench.tasks import Item
    from laconic.engine import Engine
    from laconic.types import Request

About = Annotated[
    str | None,
    typer.Option(
        help="What texts are about: comma list of bundled kinds, gym:DATASET, or JSONL files; 'self' lets a chat "
        "model ask itself. By default the bundled model gets bundled problems, every other asks itself."
    ),
]
"""What :func:`source` is given as its ``tasks``."""


def folder(out: Path) -> None:
    """Raise RequestError if ``out`` cannot become a folder."""
    for place in (out, *out.parents):
        if place.exists():
            if not place.is_dir():
                raise RequestError(f"'{place}' is a file.", "Name a folder.")
            return


def asked(engine: Engine, problems: Sequence[Item], temperature: float, seed: int, max_tokens: int) -> list[Request]:
    """A request for each problem, its draws by ``seed`` and its place."""
    from laconic.types import Limits, Sampling

    limits = Limits(max_tokens, answer_room=0)
    return [
        engine.request(item.question, sampling=Sampling(temperature, seed=seed + at), limits=limits)
        for at, item in enumerate(problems)
    ]


def source(
    engine: Engine,
    model: str,
    tasks: str | None,
    temperatures: Sequence[float],
    max_tokens: int,
    batch: int,
    seed: int,
    rounds: int = 1,
) -> Batches:
    """What texts are about: problems, or with ``self`` what a chat model asks itself, batch after batch.

    ``batch`` are written at once; a model that asks itself thinks of ``rounds`` times as many questions in one go.
    Without ``tasks`` the bundled model gets bundled problems, and every other asks itself.
    """
    if tasks == "self" or (tasks is None and model != "bundled"):
        from laconic.bench.fit.self_asked import Asking
        from laconic.bench.fit.self_asked import asked as asks_itself

        asking = Asking(
            reply=max_tokens, temperatures=tuple(temperatures), batch=batch, questions=rounds * batch, seed=seed
        )
        return lambda number, replies: asks_itself(engine, asking, number, replies)
    from laconic.bench.tasks import draw, load

    problems = load(tasks)

    def batches(number: int, replies: Sequence[Sequence[int]]) -> Sequence[Request]:
        some = draw(problems, batch, seed + number)
        return asked(engine, some, temperatures[number % len(temperatures)], seed + number * batch, max_tokens)

    return batches
