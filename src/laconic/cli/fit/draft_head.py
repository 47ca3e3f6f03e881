"""``laconic fit head``: a trained head that drafts for a target."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from laconic.cli import options
from laconic.cli.fit.texts import About, folder, source

if TYPE_CHECKING:
    from laconic.speculation.drafters.head.files import Loaded


Heats = Annotated[str, typer.Option(help="Temperatures of the texts, in turn.")]


def head(
    kind: Annotated[str, typer.Argument(help="Kind: mtp, eagle3, hydra, medusa, recurrent, clover or kangaroo.")],
    out: Annotated[Path, typer.Argument(help="Folder to write the head into; texts are kept below it.")],
    model: options.Model = "bundled",
    tasks: About = None,
    tokens: Annotated[int, typer.Option(min=100, help="Tokens of text to learn from.")] = 400_000,
    dtype: options.Dtype = None,
    max_tokens: Annotated[int, typer.Option(min=2, help="Most tokens of a text.")] = 256,
    temperatures: Heats = "0,0.7",
    batch: Annotated[int, typer.Option(min=1, help="Texts written at once.")] = 48,
    kept: Annotated[int, typer.Option(min=1, help="Tokens that the head can say: those most often written.")] = 8192,
    taught: Annotated[
        int,
        typer.Option(
            min=0,
            help="Teach on so many tokens first, and on all for the last tenth; 0 teaches on all throughout.",
        ),
    ] = 0,
    early: Annotated[
        int | None, typer.Option(min=0, help="First layers of the model that drafted tokens go through; 0 is usual.")
    ] = None,
    window: Annotated[
        int, typer.Option(min=0, help="Tokens of the text that the head's attention sees (mtp, eagle3); 0: all.")
    ] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Drafted tokens per place in training.")] = 3,
    loss: Annotated[str, typer.Option(help="ce, kl, reverse-kl, jsd, tvd or tvd++.")] = "kl",
    rate: Annotated[float, typer.Option(min=1e-7, help="Highest learning rate.")] = 3e-3,
    epochs: Annotated[float, typer.Option(min=0.01, help="Times that training goes over all texts.")] = 3.0,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Most minutes of training.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of questions, draws and training.")] = 10_000,
    threads: options.Threads = None,
    format: options.Format = None,
    system: options.System = None,
    template: options.Template = None,
) -> None:
    """Train a head that drafts (--drafter head:OUT), on texts that the target writes here."""
    from rich.console import Console

    from laconic.bench.fit.draft_head import Learning
    from laconic.bench.fit.head_run import HeadRecipe, fit_head
    from laconic.engine import Engine
    from laconic.errors import RequestError, did_you_mean
    from laconic.speculation.drafters.head.losses import LOSSES

    folder(out)
    if loss not in LOSSES:
        raise RequestError(f"there is no loss called '{loss}'.", did_you_mean(loss, LOSSES))
    heats = numbers(temperatures)
    options.settle(threads, model)
    learning = Learning(
        steps, loss=loss, rate=rate, epochs=epochs, minutes=math.inf if minutes is None else minutes, seed=seed
    )
    recipe = HeadRecipe(
        kind,
        tokens,
        kept,
        taught,
        early=early,
        knobs={"window": window} if window else {},
        batch=batch,
        learning=learning,
    )
    with Console(stderr=True).status("loading") as status:
        spoken = options.spoken(format, system, template)
        engine = Engine.load(model, dtype=options.named_dtype(dtype), drafter="none", **spoken)
        about = {"model": model, "tasks": tasks, "temperatures": list(heats)}
        batches = source(engine, model, tasks, heats, max_tokens, batch, seed, rounds=3)
        made = fit_head(engine, batches, out, recipe, after=status.update, about=about)
    for line in sentences(made):
        typer.echo(line)
    typer.echo(f"wrote {out}; use it with --drafter head:{out}", err=True)


def numbers(text: str) -> tuple[float, ...]:
    """Numbers written with commas. Raises RequestError for what is none."""
    from laconic.errors import RequestError

    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise RequestError(f"'{text}' is no list of numbers.", "Write them with commas: 0,0.7") from error


def sentences(made: Loaded) -> list[str]:
    """What was trained and how good it is, on texts that it was not trained on."""
    about = made.about
    training: dict[str, Any] = dict(about.training)
    m: dict[str, Any] = dict(about.measures)
    parameters = sum(p.numel() for p in made.head.parameters())
    by_step = ", ".join(f"{share:.0%}" for share in m["likeliest"])
    return [
        f"{about.kind}: a head of {parameters:,} weights that can say {made.head.shape.kept:,} tokens, "
        f"{m['covered']:.1%} of those written",
        f"trained on {training['text_tokens']:,} tokens of {training['texts']:,} texts: "
        f"{training['seconds_writing']:.0f} s writing, {training['seconds']:.0f} s training in "
        f"{training['steps']:,} steps",
        f"held out: {m['tokens']:,} tokens of {m['texts']:,} texts; its likeliest token is the one written, token by "
        f"token of a draft: {by_step}",
        f"a chain of {m['chain']} makes {m['tokens_a_pass']:.2f} tokens a pass",
    ]
