"""``laconic fit datastore``: texts from which the drafter ``rest`` retrieves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from laconic.cli import options
from laconic.cli.fit.texts import folder


def datastore(
    files: Annotated[list[Path], typer.Argument(help="Files of text, or JSON lines: texts or recorded answers.")],
    out: Annotated[Path, typer.Argument(help="Folder to write the datastore into.")],
    model: options.Model = "bundled",
) -> None:
    """Store texts for the drafter rest, in the tokens of a model: likely answers, code, records of earlier ones."""
    from rich.console import Console

    from laconic.bench.fit.datastore import build
    from laconic.models.load import load_text

    folder(out)
    with Console(stderr=True).status("loading") as status:
        made = build(files, load_text(model), model, status.update)
    made.save(out)
    size = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    typer.echo(f"{made.about.tokens:,} tokens of {made.about.texts:,} texts, {size:.1f} MB")
    typer.echo(f"wrote {out}; use it with --drafter rest:{out}", err=True)
