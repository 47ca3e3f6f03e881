"""``laconic tune``: find a configuration for a model on one's own prompts, and write it to a file."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from laconic.bench.tune import TOLERANCE
from laconic.errors import RequestError

from . import options
from .compare import writable

_PROMISE = "Promise"

if TYPE_CHECKING:
    from laconic.bench.tune.tuner import Told


def tune(
    tasks: Annotated[
        str | None, typer.Option(help="Comma list of bundled kinds, gym:DATASET, or JSONL files; answers are optional.")
    ] = None,
    n: Annotated[int, typer.Option("--n", "-n", help="Problems in total.")] = 70,
    model: options.AnyModel = None,
    draft_model: options.Draft = None,
    harm: Annotated[
        float | None,
        typer.Option(
            help="Promise: most harm that a shorter thought may do, as a share of the prompts (0.01). Picks, of one "
            "--family, the setting that saves most below it.",
            rich_help_panel=_PROMISE,
        ),
    ] = None,
    confidence: Annotated[
        float | None, typer.Option(help="How sure the promise is. Default: 0.95.", rich_help_panel=_PROMISE)
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(
            help="What --harm chooses from: settled (the default), budget:512/256/128, answer-confidence, any exit's "
            "threshold.",
            rich_help_panel=_PROMISE,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            help="With --harm: a laconic.toml whose model and drafting are taken.",
            rich_help_panel=_PROMISE,
        ),
    ] = None,
    temperature: options.OwnTemperature = None,
    top_k: options.OwnTopK = None,
    top_p: options.OwnTopP = None,
    min_p: options.OwnMinP = None,
    drafters: Annotated[
        str | None, typer.Option(help="Comma list of drafters to try; all that fit by default.")
    ] = None,
    lengths: Annotated[
        str | None, typer.Option(help="Comma list of draft lengths to try, e.g. constant:4,aimd.")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(min=0, max=1, help=f"Share of the answers that a shorter thought may cost. Default: {TOLERANCE}."),
    ] = None,
    seed: options.Seed = 0,
    max_tokens: options.MaxTokens = 2048,
    threads: options.Threads = None,
    format: options.Format = None,
    system: options.System = None,
    template: options.Template = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the configuration.")] = Path("laconic.toml"),
    json: Annotated[Path | None, typer.Option("--json", help="Write the record to this file.")] = None,
    report: Annotated[Path | None, typer.Option("--report", help="Write an HTML report to this file.")] = None,
) -> None:
    """Search drafters, lengths, shapes and thinking control on your prompts; write a laconic.toml."""
    drawn = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    promising = {"confidence": confidence, "family": family, "config": config, **drawn}
    searching = {"tolerance": tolerance, "drafters": drafters, "lengths": lengths}
    _together(harm, promising, searching)
    for path in (out, json, report):
        if path is not None:
            writable(path)
    from laconic.bench import page
    from laconic.bench.provenance import provenance
    from laconic.bench.tasks import draw, load
    from laconic.bench.tune.tuner import Tuner, as_methods
    from laconic.engine import Engine
    from laconic.types import Limits

    if report is not None:
        page.plots_available()
    items = draw(load(tasks), n, seed)
    spoken = options.spoken(format, system, template)
    if harm is not None:
        from laconic.bench.harm import CONFIDENCE
        from laconic.bench.harm.aim import Aim

        from .tune_harm import tune as promise

        aim = Aim(harm, CONFIDENCE if confidence is None else confidence)
        chosen = options.choose(options.Choice(think="none"), config, model, draft_model, dtype, device, spoken=spoken)
        options.settle(threads, chosen.model)
        promise(
            items, aim, "settled" if family is None else family, chosen, drawn=drawn | {"seed": seed},
            max_tokens=max_tokens, spoken=spoken, out=out, json=json, report=report,
        )  # fmt: skip
        return
    model = "bundled" if model is None else model
    options.settle(threads, model)
    draft = draft_model or ("bundled-draft" if model == "bundled" else None)
    engine = Engine.load(
        model,
        draft=draft,
        dtype=options.named_dtype(dtype),
        device="auto" if device is None else device,
        drafter="none",
        **spoken,
    )
    with _progress(len(items)) as told:
        cost = TOLERANCE if tolerance is None else tolerance
        tuner = Tuner(engine, items, limits=Limits(max_tokens, answer_room=0), tolerance=cost, told=told)
        record = tuner.run(_names(drafters), _names(lengths))
    record["provenance"] = provenance()
    found = options.to_config(model, draft_model, dtype, as_methods(record["chosen"]))
    out.write_text(found.toml(_comment(record)), encoding="utf-8")
    if json is not None:
        json.write_text(jsonlib.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if report is not None:
        from laconic.bench.tune.page import render

        report.write_text(render(record), encoding="utf-8")
    _show(record)
    typer.echo(f"wrote {out}; use it with --config {out}")


def _together(harm: float | None, promising: dict[str, Any], searching: dict[str, Any]) -> None:
    """Raise RequestError for options of a promise without one, and of the search with one."""
    for name, value in promising.items() if harm is None else searching.items():
        if value is None:
            continue
        option = f"--{name.replace('_', '-')}"
        if harm is None:
            raise RequestError(f"{option} belongs to a promise.", "Say what is to be promised with --harm.")
        raise RequestError(
            f"{option} belongs to the search, and --harm does not search.",
            "Search first, then promise with --harm and --config: drafting is taken from that file.",
        )


def _names(text: str | None) -> list[str] | None:
    return [name.strip() for name in text.split(",") if name.strip()] if text is not None else None


@contextmanager
def _progress(problems: int) -> Iterator[Told]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        console=Console(stderr=True),
    )
    stages: dict[str, Any] = {}

    def told(stage: str, done: int, left: int) -> None:
        if stage not in stages:
            stages[stage] = bar.add_task(stage, total=problems, left="")
        bar.update(stages[stage], completed=done, left=f"{left} candidates")

    with bar:
        yield told


def _comment(record: dict[str, Any]) -> str:
    origin, first, second = record["provenance"], record["speculation"], record["thinking"]
    fastest = next(row for row in first["candidates"] if row["name"] == first["best"])
    said = [
        f"Found by: {origin['command']}",
        f"on {origin['machine']['cpu']}, {origin['time']}, {record['n']} problems.",
        f"Drafting as below takes {fastest['time']:.0%} of plain decoding's time and changes no answer.",
    ]
    if second:
        best = next(row for row in second["candidates"] if row["name"] == second["best"])
        said.append(
            f"Thinking as below: {best['thinking_tokens']:.0f} thinking tokens a problem, "
            f"{best['accuracy']:.1%} right, {best['lost']} answers lost and {best['won']} won."
        )
    else:
        said.append(f"Thinking was left free: {record['thinking_not_tuned']}.")
    return "\n".join(said)


def _show(record: dict[str, Any]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)

    def table(title: str, columns: list[str], rows: list[tuple[str, list[str]]], best: str) -> None:
        made = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1), pad_edge=False)
        made.add_column("", overflow="fold")
        for column in columns:
            made.add_column(column, justify="right", no_wrap=True)
        for name, cells in rows:
            made.add_row(name, *cells, style="bold" if name == best else "")
        console.print(made)

    first, second = record["speculation"], record["thinking"]
    ordered = sorted(first["candidates"], key=lambda row: (-row["n"], row["time"]))
    table(
        "Drafting: time over plain decoding's on the same problems",
        ["problems", "time", "passes"],
        [(row["name"], [str(row["n"]), f"{row['time']:.2f}", f"{row['target_passes']:.0f}"]) for row in ordered],
        first["best"],
    )
    if second:
        front = sorted(second["candidates"], key=lambda row: row["thinking_tokens"])
        table(
            "Thinking: * is on the front of accuracy and tokens; others were dropped or are beaten",
            ["", "right", "think", "time", "lost", "won"],
            [
                (
                    row["name"],
                    ["*" if row["front"] else "", f"{row['accuracy']:.0%}", f"{row['thinking_tokens']:.0f}",
                     f"{row['time']:.2f}", str(row["lost"]), str(row["won"])],
                )
                for row in front
                if row["finished"]
            ],
            second["best"],
        )  # fmt: skip
    else:
        console.print(f"thinking was not tuned: {record['thinking_not_tuned']}", soft_wrap=True)
    spent = first["cost"]["runs"] + (second["cost"]["runs"] if second else 0)
    whole = first["cost"]["exhaustive"] + (second["cost"]["exhaustive"] if second else 0)
    console.print(f"{spent} answers were asked for, {spent / whole:.0%} of an exhaustive search", soft_wrap=True)
    for name, why in record["failures"].items():
        console.print(f"FAILED, out of the search: {name} ({why})", soft_wrap=True)
