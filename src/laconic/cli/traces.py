"""``laconic traces``: recorded reasoning traces into rows that a trainer learns from."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from laconic.errors import RequestError

from . import options
from .compare import writable

if TYPE_CHECKING:
    from rich.console import Console

    from laconic.engine import Engine
    from laconic.models.text import Text
    from laconic.training.traces.run import Account


def traces(
    transform: Annotated[
        str, typer.Argument(help="What becomes of traces: shortest, first-solution, sbt-exact ... (docs/traces.md).")
    ],
    recorded: Annotated[Path, typer.Argument(metavar="IN", help="JSONL of recorded replies; forms: docs/replay.md.")],
    out: Annotated[Path, typer.Argument(help="Where to write the rows, one JSON object a line.")],
    model: options.Model,
    also: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="LABEL=FILE", help="Another recording, for transforms that read it by label."),
    ] = None,
    select: Annotated[
        str | None, typer.Option("--select", help="Which rows are kept: random-subset:0.1, adaptive, light-r1:0.5 ...")
    ] = None,
    rewriter: Annotated[
        str | None, typer.Option("--rewriter", help="The model that rewrites, for c3ot and litecot; as --model.")
    ] = None,
    rewriter_url: Annotated[
        str | None, typer.Option("--rewriter-url", help="An OpenAI-compatible server that runs the rewriter.")
    ] = None,
    question_field: Annotated[
        str | None, typer.Option(help="Where a record keeps its question; dots go deeper: doc.problem.")
    ] = None,
    response_field: Annotated[str | None, typer.Option(help="Where a record keeps what the model wrote.")] = None,
    answer_field: Annotated[str | None, typer.Option(help="Where a record keeps the right answer.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of all draws.")] = 0,
    format: options.Format = None,
    system: options.System = None,
    template: options.Template = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    threads: options.Threads = None,
    json: Annotated[bool, typer.Option("--json", help="Print the account as JSON.")] = False,
) -> None:
    """Turn recorded traces into data that teaches --model to think less: its own tags and template, as TRL reads it."""
    import laconic.methods  # noqa: F401  (fills the registry)
    from laconic.bench.replay.fields import Fields
    from laconic.policy import registry
    from laconic.training.traces.base import Selector, Tools, TraceTransform
    from laconic.training.traces.reading import Source
    from laconic.training.traces.rendering import Renderer
    from laconic.training.traces.run import asks, check, convert

    method = cast(TraceTransform, registry.build("trace", transform))
    selector = None if select is None else cast(Selector, registry.build("selector", select))
    files = [("", str(recorded)), *map(_labelled, also or ())]
    writable(out)
    options.settle(threads, model)
    spoken = options.spoken(format, system, template)
    source = Source(tuple(files), Fields(question_field, response_field, answer_field))
    survey = source.survey()
    check(method, survey)  # before any model is loaded
    needed = asks(method)
    if (rewriter or rewriter_url) and "rewriter" not in needed:
        raise RequestError(f"'{method.name}' rewrites nothing.", "Leave out --rewriter and --rewriter-url.")
    engine = _engine(model, dtype, device, spoken) if "model" in needed else None
    helper = _rewriter(rewriter, rewriter_url, device) if "rewriter" in needed else None
    renderer = Renderer(_text(model, spoken) if engine is None else engine.text)
    tools = Tools(renderer, engine, helper, seed)
    from rich.console import Console

    try:
        with Console(stderr=True).status("reading") as status:
            account = convert(
                source, out, method, tools, selector, lambda done: status.update(f"{done:,} problems"), survey
            )
    finally:
        if rewriter_url is not None and helper is not None:
            helper.close()  # type: ignore[attr-defined]
    if json:
        typer.echo(jsonlib.dumps(account.as_dict(), indent=1))
        return
    show(account, Console(highlight=False))
    typer.echo(f"wrote {out}", err=True)


def _labelled(given: str) -> tuple[str, str]:
    label, equals, path = given.partition("=")
    if not label or not equals or not path:
        raise RequestError(f"--with {given}: no recording with a label.", "Write it as LABEL=FILE: short=short.jsonl.")
    return label, path


def _text(model: str, spoken: dict[str, Any]) -> Text:
    from laconic.models.load import load_text

    return load_text(model, **spoken)


def _engine(model: str, dtype: str | None, device: str | None, spoken: dict[str, Any]) -> Engine:
    from laconic.engine import Engine

    chosen = options.named_dtype(dtype) if dtype is not None else None
    return Engine.load(model, dtype=chosen, device=device or "auto", drafter="none", **spoken)


def _rewriter(name: str | None, url: str | None, device: str | None) -> Engine | None:
    from laconic.engine import Engine
    from laconic.remote import RemoteEngine

    if url is not None:
        return RemoteEngine.load(url, name)
    return None if name is None else Engine.load(name, device=device or "auto")


def show(account: Account, console: Console) -> None:
    """The table of what went in and came out, and of what was dropped and why."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text as Said

    title = account.method + (f", {account.selector}" if account.selector else "")
    table = Table(title=Said(title), title_justify="left", box=SIMPLE, padding=(0, 1), pad_edge=False)
    for column in ("", "problems", "rows", "tokens", "a row"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    pairs = account.makes == "pairs"
    for name, problems, rows, tokens in (
        ("traces in", account.problems, account.traces, account.trace_tokens),
        ("rows out, rejected" if pairs else "rows out, before", account.kept, account.rows, account.before),
        ("rows out, chosen" if pairs else "rows out, after", account.kept, account.rows, account.after),
    ):
        table.add_row(name, f"{problems:,}", f"{rows:,}", f"{tokens:,}", f"{tokens / rows:.0f}")
    console.print(table)
    for reason, count in account.dropped.most_common():
        console.print(f"{count:,} traces: {reason}", markup=False)
    if account.unselected:
        console.print(f"{account.unselected:,} rows: not selected", markup=False)
    if account.longer:
        console.print(f"{account.longer:,} rows are longer than the model's context of {account.context:,} tokens")
    for reason, count in account.unusable.most_common():
        console.print(f"{count:,} records left out: {reason}", markup=False)
