"""``laconic replay``: what speculation and an early exit could save, from recorded outputs alone."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .compare import writable

if TYPE_CHECKING:
    from rich.console import Console


def replay(
    files: Annotated[list[str], typer.Argument(help="JSONL files of recorded outputs; forms: docs/replay.md.")],
    tokenizer: Annotated[
        str | None, typer.Option(help="A tokenizer's hub name or path. Without it a built-in splitter, approximate.")
    ] = None,
    drafter: Annotated[
        list[str] | None, typer.Option(help="A drafter; may be repeated. Default: all that need no model.")
    ] = None,
    length: Annotated[
        list[str] | None, typer.Option(help="A length rule; may be repeated. Default: constant:8 and aimd.")
    ] = None,
    shape: Annotated[list[str] | None, typer.Option(help="Shape of a draft; may be repeated. Default: chain.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many records of each file.")] = None,
    question_field: Annotated[
        str | None, typer.Option(help="Where a record keeps its question; dots go deeper: doc.problem.")
    ] = None,
    response_field: Annotated[
        str | None, typer.Option(help="Where a record keeps what the model wrote: outputs.0.text.")
    ] = None,
    answer_field: Annotated[str | None, typer.Option(help="Where a record keeps the right answer.")] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write the record to this file.")] = None,
    report: Annotated[Path | None, typer.Option("--report", help="Write an HTML report to this file.")] = None,
) -> None:
    """Replay recorded outputs through every model-free drafter: tokens per pass, waste, cost; no model needed."""
    for path in (json, report):
        if path is not None:
            writable(path)
    from rich.console import Console

    from laconic.bench.replay.fields import Fields
    from laconic.bench.replay.run import LENGTHS, Setup
    from laconic.bench.replay.run import replay as run

    fields = Fields(question_field, response_field, answer_field)
    setup = Setup(tuple(drafter or ()), tuple(length or LENGTHS), tuple(shape or ("chain",)), tokenizer, limit, fields)
    with Console(stderr=True).status("reading") as status:
        record = run(files, setup, lambda said: status.update(f"done: {said}"))
    if json is not None:
        json.write_text(jsonlib.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if report is not None:
        from laconic.bench.replay.page import render

        report.write_text(render(record), encoding="utf-8")
    show(record, Console(highlight=False))
    for path in (json, report):
        if path is not None:
            typer.echo(f"wrote {path}", err=True)


def show(record: dict[str, Any], console: Console) -> None:
    """The tables, one per file, and what they do not say."""
    from laconic.bench.replay.wording import about, notes

    for file in record["files"]:
        console.print(_table(file))
        for sentence in about(file):
            console.print(sentence, soft_wrap=not console.is_terminal, markup=False)
        console.print()
    for sentence in notes(record):
        console.print(sentence, soft_wrap=not console.is_terminal, markup=False)


def _table(file: dict[str, Any]) -> Any:
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    from laconic.bench.replay.wording import COLUMNS, cells, title

    table = Table(
        title=Text(title(file)), title_justify="left", box=SIMPLE, padding=(0, 1), collapse_padding=True, pad_edge=False
    )
    table.add_column("drafter", overflow="fold", min_width=12)
    table.add_column("length", overflow="fold", min_width=10)
    for column, _ in COLUMNS:
        table.add_column(column.replace(" / ", "\n/ "), justify="right", no_wrap=True)
    best = max(row["tokens_per_pass"] for row in file["drafts"])
    for row in file["drafts"]:
        names = (Text(row["drafter"]), Text(row["length"] + ("" if row["shape"] == "chain" else f", {row['shape']}")))
        table.add_row(*names, *cells(row), style="bold" if row["tokens_per_pass"] == best else "")
    return table
