"""``laconic simulate``: what draft lengths are worth on a server under load, without serving anything."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .compare import writable

if TYPE_CHECKING:
    from rich.console import Console

_LOAD, _COSTS, _RECORDING = "Load", "Costs", "Recording"


def simulate(
    recording: Annotated[
        Path | None,
        typer.Option(help="A recording of drafts along texts. Without one, it is made.", rich_help_panel=_RECORDING),
    ] = None,
    record: Annotated[
        Path | None, typer.Option(help="Write the recording that is made to this file.", rich_help_panel=_RECORDING)
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(help="What is recorded: comma list of bundled kinds, gym:DATASET, or JSONL files.",
                     rich_help_panel=_RECORDING),
    ] = None,
    texts: Annotated[int, typer.Option(min=1, help="Texts to record.", rich_help_panel=_RECORDING)] = 48,
    model: options.AnyModel = None,
    draft_model: options.Draft = None,
    dtype: options.Dtype = None,
    max_tokens: Annotated[
        int, typer.Option(help="Most tokens of a recorded text.", rich_help_panel=_RECORDING)
    ] = 600,
    arrivals: Annotated[
        str,
        typer.Option(help="closed:1,2,4 (clients), poisson:0.5,1 (requests a second), or a trace: Azure CSV, "
                          "Mooncake JSONL.", rich_help_panel=_LOAD),
    ] = "closed:1,2,4,8,16,32",
    speedup: Annotated[
        str, typer.Option(help="Comma list: how many times as fast a trace's requests come.", rich_help_panel=_LOAD)
    ] = "1",
    n: Annotated[
        int | None, typer.Option("--n", "-n", min=1, help="Requests of each load.", rich_help_panel=_LOAD)
    ] = None,
    slo: Annotated[
        float | None,
        typer.Option(help="A bound on latency in seconds; tokens within it are counted too.", rich_help_panel=_LOAD),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of tasks and arrivals.", rich_help_panel=_LOAD)] = 0,
    policies: Annotated[
        str | None, typer.Option(help="Comma list of length rules, e.g. none,constant:4,marginal.")
    ] = None,
    cost: Annotated[
        str,
        typer.Option(help="Target passes: measured (here), a file of laconic cost --json, or roofline:h100:CONFIG.",
                     rich_help_panel=_COSTS),
    ] = "measured",
    draft_cost: Annotated[
        str | None,
        typer.Option(help="Draft passes, in the same forms. Default: measured, if the target's are.",
                     rich_help_panel=_COSTS),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(help="The engine's own work: measured, or none. Default: measured, if target passes are.",
                     rich_help_panel=_COSTS),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure again, whatever the cache holds.", rich_help_panel=_COSTS)
    ] = False,
    max_batch: Annotated[int, typer.Option(min=1, help="Requests at once, at most.")] = 32,
    cache_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens in the cache at once, over all requests, at most.")
    ] = None,
    memory: Annotated[float | None, typer.Option(help="Memory of the server in GB: weights, caches, drafts.")] = None,
    threads: options.Threads = None,
    format: options.Format = None,
    system: options.System = None,
    template: options.Template = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write the record to this file.")] = None,
    report: Annotated[Path | None, typer.Option("--report", help="Write an HTML report to this file.")] = None,
) -> None:  # fmt: skip
    """Simulate a server: every draft length rule on the same requests, by recorded drafts and the costs of passes."""
    for path in (record, json, report):
        if path is not None:
            writable(path)
    from rich.console import Console

    from laconic.bench.page import plots_available
    from laconic.bench.simulate.arrivals import loads
    from laconic.bench.simulate.memory import Bounds
    from laconic.bench.simulate.run import POLICIES, Setup
    from laconic.bench.simulate.run import simulate as run

    from .simulate_parts import Parts, factors, specs

    if report is not None:
        plots_available()
    chosen = specs(policies) if policies is not None else POLICIES
    points = tuple(loads(arrivals, factors(speedup)))
    parts = Parts(
        recording,
        record,
        tasks,
        texts,
        model,
        draft_model,
        dtype,
        max_tokens,
        seed,
        cost,
        draft_cost,
        host,
        fresh,
        threads,
        options.spoken(format, system, template),
    )
    with Console(stderr=True).status("starting") as status:
        parts.prepare(chosen, status.update)
        bounds = Bounds(max_batch, cache_tokens, memory * 1e9 if memory is not None else None,
                        parts.memory() if memory is not None else None)  # fmt: skip
        setup = Setup(points, parts.target, parts.draft, chosen, parts.host, bounds, n, slo, seed, parts.ties)
        made = run(parts.recording, setup, after=lambda load, policy: status.update(f"done: {load}, {policy}"),
                   about=parts.about())  # fmt: skip
    if json is not None:
        json.write_text(jsonlib.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if report is not None:
        from laconic.bench.simulate.page import render

        report.write_text(render(made), encoding="utf-8")
    show(made, Console(highlight=False, emoji=False))
    for path in (record if parts.recorded else None, json, report):
        if path is not None:
            typer.echo(f"wrote {path}", err=True)
    if made["interrupted"]:
        raise typer.Exit(130)


def show(record: dict[str, Any], console: Console) -> None:
    """The table, and what it does not say."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    from laconic.bench.simulate.wording import COLUMNS, about, cells, title

    table = Table(title=Text(title(record)), title_justify="left", box=SIMPLE, padding=(0, 1), collapse_padding=True,
                  pad_edge=False)  # fmt: skip
    table.add_column("policy", overflow="fold", min_width=12)
    for column in COLUMNS:
        table.add_column(
            column.replace(" / ", "\n/ ").replace(" (", "\n(").replace("per ", "per\n"), justify="right", no_wrap=True
        )
    for point in record["loads"]:
        runs = point["policies"]
        best = max(runs, key=lambda name: runs[name]["goodput"])
        table.add_row(Text(point["load"], "dim"))
        for i, (name, run) in enumerate(runs.items()):
            table.add_row(Text(name), *cells(run, runs.get("none")), style="bold" if name == best else "",
                          end_section=i == len(runs) - 1)  # fmt: skip
    console.print(table)
    for sentence in about(record):
        console.print(sentence, soft_wrap=not console.is_terminal, markup=False)
