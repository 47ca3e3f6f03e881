"""``laconic tune --harm``: the setting of a family that saves most while a limit of harm is kept, and its promise."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from . import options

if TYPE_CHECKING:
    from laconic.bench.harm.aim import Aim
    from laconic.bench.harm.asked import Told
    from laconic.bench.tasks import Item


def tune(
    items: Sequence[Item],
    aim: Aim,
    family: str,
    chosen: options.Chosen,
    *,
    drawn: dict[str, Any],
    max_tokens: int,
    spoken: dict[str, Any],
    out: Path,
    json: Path | None,
    report: Path | None,
) -> None:
    """Split, measure, write. Raises TaskError for too few problems before a model is loaded."""
    from laconic.bench.harm.families import sequence
    from laconic.bench.harm.run import Calibration
    from laconic.bench.harm.split import split
    from laconic.bench.provenance import provenance
    from laconic.bench.tune.tuner import as_methods
    from laconic.config import Config
    from laconic.engine import Engine
    from laconic.types import Limits, Sampling

    options.sampled(Sampling(), **drawn)  # what cannot be is refused before a model is loaded
    settings, parts = sequence(family, max_tokens), split(items)
    aim.possible(parts)
    given = {"draft": chosen.draft, "dtype": chosen.dtype, "device": chosen.device, **spoken}
    engine = Engine.load(chosen.model, **given, **chosen.methods.fields())
    sampling = options.sampled(engine.defaults.sampling, **drawn)
    with _progress() as told:
        calibration = Calibration(engine, parts, settings, aim, sampling=sampling, limits=Limits(max_tokens), told=told)
        record = calibration.run()
    record["provenance"] = provenance()
    dtype = None if chosen.dtype is None else str(chosen.dtype).removeprefix("torch.")
    config = options.to_config(chosen.model, chosen.draft, dtype, as_methods(record["methods"]))
    more = {"promise": record["promise"], "device": None if chosen.device == "auto" else chosen.device}
    config = Config.model_validate(config.model_dump() | more)
    out.write_text(config.toml(_comment(record)), encoding="utf-8")
    if json is not None:
        json.write_text(jsonlib.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if report is not None:
        from laconic.bench.harm.page import render

        report.write_text(render(record), encoding="utf-8")
    _show(record)
    typer.echo(f"wrote {out}; use it with --config {out}")
    if record["shown"] and record["shown"]["interrupted"]:
        raise typer.Exit(130)


@contextmanager
def _progress() -> Iterator[Told]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True))
    stages: dict[str, Any] = {}

    def told(stage: str, done: int, total: int) -> None:
        if stage not in stages:
            stages[stage] = bar.add_task(stage, total=total)
        bar.update(stages[stage], completed=done)

    with bar:
        yield told


def _verdict(record: dict[str, Any]) -> str:
    from laconic.bench.harm.promise import said
    from laconic.config import PromiseTable

    if record["promise"] is None:
        return f"nothing is promised, and thinking is left free: {record['why_not']}"
    row = next(row for row in record["settings"] if row["think"] == record["best"])
    promise = PromiseTable.model_validate(record["promise"])
    return f"{said(promise, [])}; {row['saved']:.1%} fewer thinking tokens there"


def _comment(record: dict[str, Any]) -> str:
    origin = record["provenance"]
    found = f"Found by: {origin['command']}\non {origin['machine']['cpu']}, {origin['time']}."
    verdict = _verdict(record)
    return f"{found}\n{verdict[:1].upper()}{verdict[1:]}."


def _show(record: dict[str, Any]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from laconic.bench.page import incidents

    console = Console(highlight=False)
    title = f"{record['n']} calibration prompts, of which {record['allowed']} may be harmed; the safest setting first"
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1), pad_edge=False)
    table.add_column("", overflow="fold")
    for column in ("harmed", "of", "bound", "think", "saved"):
        table.add_column(column, justify="right", no_wrap=True)
    free = record["free"]["thinking_tokens"]
    table.add_row("free thinking", "", str(record["n"]), "", f"{free:.0f}", "")
    for row in record["settings"]:
        bound = "failed" if not row["passed"] else f"{row['upper_bound']:.2%}"
        cells = [str(row["harms"]), str(row["n"]), bound, f"{row['thinking_tokens']:.0f}", f"{row['saved']:.0%}"]
        table.add_row(row["think"], *cells, style="bold" if row["think"] == record["best"] else "")
    console.print(table)
    if record["not_tried"]:
        console.print(f"not tried, being bolder: {', '.join(record['not_tried'])}", soft_wrap=True)
    if record["repeated"]:
        console.print(f"{record['repeated']} prompts only repeat others and were left out", soft_wrap=True)
    console.print(_verdict(record), soft_wrap=True)
    if shown := record["shown"]:
        low, high = shown["harm_ci"]
        ratio = shown["ratio"]["thinking_tokens"]
        saved = "" if ratio is None else f", {1 - ratio:.1%} fewer thinking tokens"
        harm = f"{shown['harms']} harmed (95 % interval {low:.1%} to {high:.1%})"
        console.print(f"on {shown['n']} prompts kept apart: {harm}{saved}", soft_wrap=True)
        for incident in incidents(shown):
            console.print(incident, soft_wrap=True)
