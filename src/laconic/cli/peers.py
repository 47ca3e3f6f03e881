"""``laconic peers``: other engines on the same checkpoint and problems, in the same run."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated, Any

import typer

from . import options
from .compare import writable


def peers(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[PEER]...", help="Which peers; all of them by default.")
    ] = None,
    tasks: Annotated[
        str | None, typer.Option(help="Comma list of bundled kinds, gym:DATASET, or JSONL files of question/answer.")
    ] = None,
    n: Annotated[int, typer.Option("--n", "-n", help="Problems in total.")] = 42,
    model: options.AnyModel = None,
    draft_model: options.Draft = None,
    config: options.ConfigFile = None,
    drafter: options.Drafter = None,
    length: options.Length = None,
    shape: options.Shape = None,
    verify: options.Verify = None,
    think: options.Think = None,
    exit_spec: options.Exit = None,
    budget: options.Budget = None,
    temperature: options.Temperature = 0.0,
    seed: options.Seed = 0,
    max_tokens: options.MaxTokens = 1024,
    threads: options.Threads = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    vllm: Annotated[
        Path | None, typer.Option(help="Python of vLLM's environment (scripts/install_vllm.py makes one).")
    ] = None,
    llama: Annotated[
        Path | None, typer.Option(help="Python of llama.cpp's environment (scripts/install_llama.py makes one).")
    ] = None,
    logs: Annotated[Path | None, typer.Option(help="Folder for what peers say.")] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write the record to this file.")] = None,
    report: Annotated[Path | None, typer.Option("--report", help="Write an HTML report to this file.")] = None,
) -> None:
    """Measure laconic beside other engines: same checkpoint, prompts and token counter, interleaved."""
    for path in (json, report):
        if path is not None:
            writable(path)
    from laconic.bench import page
    from laconic.bench.compare import Setup
    from laconic.bench.peers.together import PEERS, Place, meet
    from laconic.bench.tasks import draw, load
    from laconic.types import Limits, Sampling

    from .table import progress

    if report is not None:
        page.plots_available()
    items = draw(load(tasks), n, seed)
    choice = options.Choice(drafter, length, shape, verify, think, exit_spec, budget)
    chosen = options.choose(choice, config, model, draft_model, dtype, device)
    setup = Setup(
        chosen.methods,
        chosen.model,
        chosen.draft,
        Sampling(temperature, seed=seed),
        Limits(max_tokens, answer_room=0),
        dtype=chosen.dtype,
        device=chosen.device,
    )
    options.settle(threads, chosen.model)
    if logs is not None:
        logs.mkdir(parents=True, exist_ok=True)
    meeting = meet(setup, names or PEERS, Place(vllm, llama, logs))
    try:
        with progress(len(items)) as after:
            record = meeting.run(items, after)
    finally:
        meeting.close()
    if json is not None:
        json.write_text(jsonlib.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if report is not None:
        from laconic.bench.peers.page import render

        report.write_text(render(record), encoding="utf-8")
    _show(record)
    if record["interrupted"]:
        raise typer.Exit(130)
    if record["failures"]:
        raise typer.Exit(1)


def _show(record: dict[str, Any]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from laconic.bench.peers.page import COLUMNS, cells, in_words

    console = Console(highlight=False)
    setup, variants = record["setup"], record["variants"]
    table = Table(
        title=f"{variants['baseline']['n']} problems, {setup['model']}, {setup['dtype']}, one request at a time",
        title_justify="left",
        box=SIMPLE,
        padding=(0, 1),
        pad_edge=False,
    )
    table.add_column(COLUMNS[0], no_wrap=True)
    for column in COLUMNS[1:]:
        table.add_column(column.replace("/", "\n/").replace(" ", "\n"), justify="right", no_wrap=True)
    for name in variants:
        table.add_row(*cells(record, name), style="bold" if name == "laconic" else "")
    console.print(table)
    console.print(
        "tokens per problem; tokens a second and time per problem relative to laconic's plain decoding; same tokens: "
        "on how many problems a variant wrote what plain decoding wrote"
    )
    for line in record["standing"]:
        console.print(in_words(line), soft_wrap=True)
    for name, why in record["skipped"].items():
        console.print(f"skipped {name}: {why}", soft_wrap=True)
    for failure in record["failures"]:
        console.print(f"FAILED, left out of every number: {', '.join(failure['items'])} "
                      f"({failure['variant']}: {failure['error']})", soft_wrap=True)  # fmt: skip
