"""``laconic train``: a model that thinks less, by a recipe."""

from __future__ import annotations

import json as jsonlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

_SHOWN = 12
"""Steps that the live table has room for."""
_COLUMNS = {
    "step": "{:d}", "reward": "{:.3f}", "right": "{:.2f}", "formatted": "{:.2f}", "truncated": "{:.2f}",
    "thinking": "{:.0f}", "tokens": "{:.0f}", "right_discouraged": "{:.2f}", "loss": "{:.4f}", "seconds": "{:.1f}",
}  # fmt: skip


def train(
    recipe: Annotated[Path, typer.Argument(help="A TOML file (docs/training.md), or the recipe.json of a run.")],
    out: Annotated[Path, typer.Argument(help="A new folder: log, checkpoints, and the model at the end.")],
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe, as update.steps=20.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the log's rows as JSON, one a line.")] = False,
) -> None:
    """Train a model to need fewer tokens: by a reward for short right answers, by examples, or by pairs."""
    from laconic.training.run.recipe import read
    from laconic.training.run.run import train as follow

    from .quiet import quiet

    quiet()
    warnings.simplefilter("ignore", FutureWarning)  # what libraries tell each other
    said = read(recipe, tuple(changes or ()))
    if json:
        follow(said, out, resume=resume, shown=lambda row: typer.echo(jsonlib.dumps(row)))
        return
    console = Console()
    if not console.is_terminal:
        log = follow(said, out, resume=resume, shown=lambda row: typer.echo(_line(row)))
    else:
        rows: list[Mapping[str, Any]] = []
        with Live(console=console, auto_refresh=False) as live:

            def show(row: Mapping[str, Any]) -> None:
                rows.append(row)
                live.update(_table(rows), refresh=True)

            log = follow(said, out, resume=resume, shown=show)
    first, last = (log.evaluations[at] if log.evaluations else None for at in (0, -1))
    if first is not None and last is not None and first is not last:
        typer.echo(f"before: {_evaluation(first)}")
        typer.echo(f"after:  {_evaluation(last)}")
    typer.echo(f"wrote {out / 'model'}")


def _evaluation(row: Mapping[str, Any]) -> str:
    low, high = row["interval"]
    return (
        f"{row['right']:.1%} right of {row['n']} ({low:.0%} to {high:.0%}), {row['thinking']:.0f} thinking tokens and"
        f" {row['tokens']:.0f} in all a problem"
    )


def _line(row: Mapping[str, Any]) -> str:
    if "note" in row:
        return f"note: {row['note']}"
    if "evaluation" in row:
        return f"evaluation at step {row['evaluation']}: {_evaluation(row)}"
    return ", ".join(f"{name} {text}" for name, text in _cells(row))


def _cells(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (name.replace("_", " "), shape.format(float(row[name]) if "f" in shape else row[name]))
        for name, shape in _COLUMNS.items()
        if row.get(name) is not None
    ]


def _table(rows: list[Mapping[str, Any]]) -> Table:
    steps = [row for row in rows if "step" in row][-_SHOWN:]
    known = [row for row in rows if "evaluation" in row]
    title = f"step {known[-1]['evaluation']}: {_evaluation(known[-1])}" if known else None
    names = [name for name in _COLUMNS if any(row.get(name) is not None for row in steps)]
    notes = [f"note: {row['note']}" for row in rows if "note" in row]
    table = Table(caption="\n".join(notes) or None, caption_justify="left", title=title, title_justify="left")
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for row in steps:
        told = dict(_cells(row))
        table.add_row(*(told.get(name.replace("_", " "), "") for name in names))
    return table
