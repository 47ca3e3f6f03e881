"""``laconic fit effort``: the budgets behind the levels of effort, from how long a model thinks when left alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from laconic.cli import options
from laconic.cli.fit.heads import Batch, Seed, Tasks
from laconic.cli.fit.texts import asked

if TYPE_CHECKING:
    from laconic.thinking.budget.lengths import Lengths

Out = Annotated[Path, typer.Argument(help="JSON file to write.")]
Problems = Annotated[int, typer.Option("--n", "-n", min=2, help="Problems to think about.")]
Longest = Annotated[int, typer.Option("--max-tokens", min=2, help="Where a thought is given up.")]


def effort(
    out: Out,
    model: options.Model = "bundled",
    draft_model: options.Draft = None,
    tasks: Tasks = None,
    n: Problems = 100,
    dtype: options.Dtype = None,
    max_tokens: Longest = 16_384,
    temperature: options.Temperature = 0.0,
    batch: Batch = 8,
    seed: Seed = 10_000,
    threads: options.Threads = None,
    format: options.Format = None,
    system: options.System = None,
    template: options.Template = None,
) -> None:
    """Measure how long the model thinks about these problems when left alone, for the controller effort."""
    from rich.console import Console

    from laconic.bench.fit.effort import free_lengths
    from laconic.bench.tasks import draw, load
    from laconic.engine import Engine
    from laconic.errors import RequestError

    if out.is_dir():
        raise RequestError(f"'{out}' is a folder.", "Name a file, e.g. effort.json.")
    options.settle(threads, model)
    problems = draw(load(tasks), n, seed)
    drafted = draft_model is not None or model == "bundled"
    with Console(stderr=True).status("loading") as status:
        engine = Engine.load(
            model,
            draft=draft_model,
            dtype=options.named_dtype(dtype),
            **options.spoken(format, system, template),
            drafter="draft-model" if drafted else "suffix",
        )
        requests = asked(engine, problems, temperature, seed, max_tokens)
        run = {"tasks": tasks, "temperature": temperature, "max_tokens": max_tokens, "seed": seed}
        made = free_lengths(engine, requests, model, batch=batch, after=status.update, run=run)
    made.save(out)
    for line in sentences(made):
        typer.echo(line)
    typer.echo(f"wrote {out}; use it with --think effort:low,lengths={out}", err=True)


def sentences(made: Lengths) -> list[str]:
    """What was found, and what the levels make of it."""
    from laconic.thinking.budget.effort import PERCENT

    levels = ", ".join(f"{level} {made.enough_for(percent):,}" for level, percent in PERCENT.items())
    said = [f"{made.n} thoughts of {made.mean:,.0f} tokens on average", f"budgets: {levels}"]
    if made.unfinished:
        said.append(
            f"{made.unfinished} thoughts were not over at the limit and count as that long; with a larger --max-tokens "
            "the highest levels may come out higher"
        )
    return said
