"""``laconic merge``: several models of one architecture into one."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer

from . import options


def merge(
    out: Annotated[Path, typer.Argument(help="Where to write; new, or an empty directory.")],
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL[:WEIGHT]...", help=f"What to merge. {options.MODELS}; or an adapter's folder."),
    ],
    method: Annotated[
        str, typer.Option("--method", help="linear, slerp, task-arithmetic, ties or dare; the last three need --base.")
    ] = "linear",
    base: Annotated[str | None, typer.Option("--base", help="The model that the others were trained from.")] = None,
    density: Annotated[
        float | None,
        typer.Option("--density", help="Share of differences that ties (default 0.2) and dare (0.1) keep."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the draws of dare.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Merge models that were trained from one base: long thoughts and short ones, by arithmetic on their weights."""
    from laconic.training.merging import Plan, read_models
    from laconic.training.merging import merge as write

    from .quiet import quiet

    quiet()
    names, weights = read_models(models)
    made = write(out, names, Plan(method, weights, density, seed), base=base)
    if json:
        typer.echo(jsonlib.dumps(made.as_dict(), indent=1))
        return
    shown = " + ".join(f"{weight:g} {name}" for name, weight in zip(names, weights, strict=True))
    typer.echo(f"{method}: {shown}" + (f", from {base}" if base is not None else ""))
    typer.echo("\n".join([*(f"note: {note}" for note in made.notes),
                          f"wrote {made.path}: {made.tensors} tensors, {made.parameters:,} parameters"]))  # fmt: skip
