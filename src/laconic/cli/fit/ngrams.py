"""``laconic fit ngrams``: what a model thinks after the last few tokens, for the drafter ``stand``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from laconic.cli import options
from laconic.cli.fit.draft_head import Heats, numbers
from laconic.cli.fit.texts import About, folder, source


def ngrams(
    out: Annotated[Path, typer.Argument(help="Folder to write into; texts are kept below it.")],
    model: options.Model = "bundled",
    tasks: About = None,
    tokens: Annotated[int, typer.Option(min=100, help="Tokens of text to write.")] = 400_000,
    texts: Annotated[
        Path | None,
        typer.Option(help="Write nothing, and count the texts in this folder: OUT/texts of laconic fit head."),
    ] = None,
    orders: Annotated[str, typer.Option(help="Lengths of contexts, with commas.")] = "1,2,3",
    k: Annotated[int, typer.Option(min=1, max=64, help="Next tokens kept for each.")] = 8,
    dtype: options.Dtype = None,
    max_tokens: Annotated[int, typer.Option(min=2, help="Most tokens of a text.")] = 256,
    temperatures: Heats = "0,0.7",
    batch: Annotated[int, typer.Option(min=1, help="Texts written at once.")] = 48,
    seed: Annotated[int, typer.Option(help="Seed of questions and draws.")] = 10_000,
    threads: options.Threads = None,
    format: options.Format = None,
    system: options.System = None,
    template: options.Template = None,
) -> None:
    """Count what a model thinks after its last few tokens (--drafter stand:learned=OUT), along texts it writes here."""
    from rich.console import Console

    from laconic.bench.fit.ngrams import NGramRecipe, fit_ngrams
    from laconic.engine import Engine
    from laconic.errors import RequestError
    from laconic.speculation.base import HEARD

    folder(out)
    heats, lengths = numbers(temperatures), whole(orders)
    if not 1 <= lengths[0] <= lengths[-1] <= HEARD:
        raise RequestError(f"contexts are of 1 to {HEARD} tokens, not {orders}.", "Write --orders 1,2,3.")
    options.settle(threads, model)
    drawn = [heat for heat in heats if heat > 0]
    recipe = NGramRecipe(tuple(lengths), k, tokens, batch, max(drawn, default=1.0))
    with Console(stderr=True).status("loading") as status:
        spoken = options.spoken(format, system, template)
        engine = Engine.load(model, dtype=options.named_dtype(dtype), drafter="none", **spoken)
        about = {"model": model, "tasks": tasks, "temperatures": list(heats)}
        batches = None if texts else source(engine, model, tasks, heats, max_tokens, batch, seed, rounds=3)
        made = fit_ngrams(engine, batches, texts or out / "texts", recipe, after=status.update, about=about)
    made.save(out)
    said = made.about
    for order, count in zip(said.orders, said.contexts, strict=True):
        typer.echo(f"{count:,} contexts of {order} token{'s' * (order > 1)}")
    typer.echo(f"counted along {said.tokens:,} tokens of {said.texts:,} texts")
    typer.echo(
        f"wrote {out}; use it with --drafter stand:learned={out} --shape best-first --length constant:12", err=True
    )


def whole(text: str) -> list[int]:
    """Whole numbers written with commas, rising and each once. Raises RequestError for what is none."""
    from laconic.errors import RequestError

    try:
        return sorted({int(part) for part in text.split(",")})
    except ValueError as error:
        raise RequestError(f"'{text}' is no list of whole numbers.", "Write --orders 1,2,3.") from error
