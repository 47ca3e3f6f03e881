"""``laconic compare``: plain decoding and a configuration on the same problems, with a table and a report."""

from __future__ import annotations

import json as jsonlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from laconic.errors import RequestError

from . import options

if TYPE_CHECKING:
    from laconic.bench.compare import Setup
    from laconic.bench.tasks import Item


def compare(
    tasks: Annotated[
        str | None,
        typer.Option(
            help="Comma list of bundled kinds (default: all), gym:DATASET, or JSONL files of question/answer."
        ),
    ] = None,
    n: Annotated[int, typer.Option("--n", "-n", help="Problems in total.")] = 210,
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
    kv: options.KV = None,
    kv_budget: options.KVBudget = None,
    scaling: Annotated[
        list[str] | None,
        typer.Option(
            "--scaling",
            help="Answer by several attempts instead: a method (enough, short-m:1 ...) beside one attempt and "
            "self-consistency; may be said several times.",
        ),
    ] = None,
    attempts: options.Attempts = None,
    batch: Annotated[int, typer.Option(help="Requests at once; above 1 whole blocks are timed.")] = 1,
    temperature: options.Temperature = 0.0,
    top_k: options.TopK = 0,
    top_p: options.TopP = 1.0,
    min_p: options.MinP = 0.0,
    seed: options.Seed = 0,
    max_tokens: options.MaxTokens = 2048,
    threads: options.Threads = None,
    format: options.Format = None,
    system: options.System = None,
    template: options.Template = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    no_hf: Annotated[bool, typer.Option("--no-hf", help="Leave out transformers' own generate.")] = False,
    no_oracle: Annotated[
        bool, typer.Option("--no-oracle", help="Leave out what could have been saved at most.")
    ] = False,
    hardware: Annotated[
        str | None, typer.Option(help="Comma list of hardware to predict the time for: h100, l4, rtx4090 ...")
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write the record to this file.")] = None,
    report: Annotated[Path | None, typer.Option("--report", help="Write an HTML report to this file.")] = None,
) -> None:
    """Measure plain decoding and laconic on the same problems, interleaved, with accuracy beside the savings."""
    for path in (json, report):
        if path is not None:
            writable(path)
    from laconic.bench.compare import Setup, prepare
    from laconic.bench.cost import hardware as find
    from laconic.bench.tasks import draw, load
    from laconic.types import Limits, Sampling

    from .table import overview, progress

    if report is not None:
        from laconic.bench.page import plots_available

        plots_available()
    if attempts is not None and not scaling:
        raise RequestError("--attempts goes with --scaling.", "Name a method, e.g. --scaling enough.")
    items = draw(load(tasks), n, seed)
    choice = options.Choice(drafter, length, shape, verify, think, exit_spec, budget, kv, kv_budget)
    spoken = options.spoken(format, system, template)
    chosen = options.choose(choice, config, model, draft_model, dtype, device, spoken=spoken)
    setup = Setup(
        chosen.methods,
        chosen.model,
        chosen.draft,
        Sampling(temperature, top_k, top_p, min_p, seed),
        Limits(max_tokens, answer_room=0),
        batch,
        peer=not no_hf,
        oracle=not no_oracle,
        dtype=chosen.dtype,
        device=chosen.device,
        spoken=spoken,
        hardware=tuple(find(name.strip()) for name in (hardware or "").split(",") if name.strip()),
    )
    options.settle(threads, chosen.model)
    if scaling:
        _attempts(setup, scaling, 8 if attempts is None else attempts, items, json, report)
        return
    bench = prepare(setup)
    with progress(len(items)) as after:
        record = bench.run(items, after)
    _write(record, json, report)
    overview(record)
    for path in (json, report):
        if path is not None:
            typer.echo(f"wrote {path}", err=True)
    if record["interrupted"]:
        raise typer.Exit(130)
    if record["failures"]:
        raise typer.Exit(1)


def _attempts(
    setup: Setup, specs: list[str], most: int, items: list[Item], json: Path | None, report: Path | None
) -> None:
    """Several attempts a problem: another table."""
    from laconic.bench.attempts.compare import compare, record, ways
    from laconic.engine import Engine

    from .attempts import overview, progress

    if report is not None or setup.batch != 1:
        option = "--report" if report is not None else "--batch"
        raise RequestError(f"--scaling does not go with {option}.", "Leave one of them out.")
    given: dict[str, Any] = {"draft": setup.draft, "dtype": setup.dtype, "device": setup.device, **setup.spoken}
    engine = Engine.load(setup.model, **given, **setup.methods.fields())
    made = ways(engine, specs, most)
    for way in made:  # what cannot be is refused before any work
        engine.answering("?", scaling=way.scaling or "self-consistency", n=way.most, sampling=setup.sampling).close()
    with progress(len(items)) as after:
        found = compare(made, items, setup.sampling, setup.limits, after)
    told = record(found, made, setup.sampling, setup.limits, setup.model)
    if json is not None:
        json.write_text(jsonlib.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    overview(told)
    if found.interrupted:
        raise typer.Exit(130)
    if found.failures:
        raise typer.Exit(1)


def _write(record: dict[str, Any], json: Path | None, report: Path | None) -> None:
    if json is not None:
        json.write_text(jsonlib.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if report is not None:
        from laconic.bench.report import render

        report.write_text(render(record), encoding="utf-8")


def writable(path: Path) -> None:
    """Raise RequestError unless a file can be written there; an existing file keeps its content for now."""
    if path.is_dir():
        raise RequestError(f"'{path}' is a directory.", "Name a file in it.")
    if not path.parent.is_dir():
        raise RequestError(f"cannot write '{path}': there is no directory '{path.parent}'.", "Create it first.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise RequestError(f"cannot write '{path}': permission denied.", "Choose another place.")
