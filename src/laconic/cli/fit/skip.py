"""``laconic fit skip``: the layers that a target can draft without."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from laconic.cli import options
from laconic.cli.fit.texts import About, source


def skip(
    out: Annotated[Path, typer.Argument(help="File to write the plan into.")],
    model: options.Model = "bundled",
    tasks: About = None,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Texts that plans are judged by.")] = 8,
    window: Annotated[int, typer.Option(min=1, help="Tokens of each text that count, the last.")] = 32,
    tries: Annotated[int, typer.Option(min=1, help="Plans that are tried.")] = 300,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Most minutes of searching.")] = None,
    dtype: options.Dtype = None,
    max_tokens: Annotated[int, typer.Option(min=2, help="Most tokens of a text.")] = 128,
    temperature: options.Temperature = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of questions, draws and plans.")] = 10_000,
    threads: options.Threads = None,
    format: options.Format = None,
    system: options.System = None,
    template: options.Template = None,
) -> None:
    """Search for the layers that the target drafts best without (--drafter draft-verify:OUT)."""
    import math

    from rich.console import Console

    from laconic.bench.fit.skip import search
    from laconic.bench.provenance import provenance
    from laconic.engine import Engine
    from laconic.errors import RequestError, TaskError, UnmetNeed
    from laconic.models.base import RunsParts, ShowsHidden
    from laconic.speculation.drafters.itself.files import write_plan

    if out.is_dir():
        raise RequestError(f"'{out}' is a folder.", "Name a file.")
    options.settle(threads, model)
    with Console(stderr=True).status("loading") as status:
        spoken = options.spoken(format, system, template)
        engine = Engine.load(model, dtype=options.named_dtype(dtype), drafter="suffix", length="marginal", **spoken)
        target = engine.target
        if not (isinstance(target, RunsParts) and target.runs_parts and isinstance(target, ShowsHidden)):
            raise UnmetNeed(
                "this model cannot run a part of its layers alone.",
                "Use one that laconic runs over slots, without recurrent layers (laconic inspect).",
            )
        status.update("writing texts")
        batches = source(engine, model, tasks, (temperature,), max_tokens, max(n, 8), seed)
        texts: list[list[int]] = []
        number = 0
        replies: list[Sequence[int]] = []
        while len(texts) < n and (requests := batches(number, replies)):
            answers = engine.using(think=()).run(requests, batch=8)
            replies = [a.tokens for a in answers]
            texts += [[*q.prompt, *a.tokens] for q, a in zip(requests, answers, strict=True) if len(a.tokens) > 1]
            number += 1
        if not texts:
            raise TaskError("the model has written nothing that a plan could be judged by.")
        found = search(
            target, texts[:n], window=window, tries=tries, seed=seed, after=status.update,
            minutes=math.inf if minutes is None else minutes,
        )  # fmt: skip
    about = {"right": round(found.right, 4), "cost": round(found.cost, 4), "draft": found.draft}
    about |= {"speed": round(found.speed, 4), "tries": found.tries, "texts": len(texts[:n]), "window": window}
    write_plan(out, found.plan, target.fingerprint(), {**about, "model": model, "provenance": provenance()})
    left = f"{len(found.plan.attention)} attentions and {len(found.plan.mlp)} feed-forward networks"
    typer.echo(f"{found.tries} plans tried; the best leaves out {left} of {target.num_layers} layers")
    typer.echo(
        f"it names {found.right:.0%} of the tokens right at {found.cost:.0%} of a pass: "
        + (f"worth {found.speed:.2f} of plain decoding, {found.draft} at once" if found.draft else "no draft pays")
    )
    typer.echo(f"wrote {out}; use it with --drafter draft-verify:{out}", err=True)
