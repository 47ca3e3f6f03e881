"""``laconic fit steer`` and ``laconic fit edit``: a direction in which thoughts grow shorter, pushed or edited out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from laconic.cli import options
from laconic.cli.fit.texts import folder

if TYPE_CHECKING:
    from laconic.bench.steer.checkpoint import Edited
    from laconic.thinking.steer.direction import Direction

Tasks = Annotated[
    str | None, typer.Option(help="Problems to think about: comma list of bundled kinds, gym:DATASET, or JSONL files.")
]
HeldOut = Annotated[int, typer.Option(min=1, help="Further problems on which lengths are measured.")]
MaxTokens = Annotated[int, typer.Option(min=2, help="Most tokens of an answer, its thought included.")]
Batch = Annotated[int, typer.Option(min=1, help="Answers written at once.")]
Seed = Annotated[int, typer.Option(help="Seed of problems and draws.")]


def steer(
    out: Annotated[Path, typer.Argument(help="Folder to write the direction into.")],
    model: options.Model = "bundled",
    draft_model: options.Draft = None,
    tasks: Tasks = None,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Problems that pairs come from.")] = 48,
    samples: Annotated[int, typer.Option(min=2, help="Answers to each of them.")] = 4,
    pairs: Annotated[
        Path | None, typer.Option(help='JSONL of {"question", "concise", "verbose"} in place of own answers.')
    ] = None,
    how: Annotated[Literal["mean", "pca"], typer.Option(help="Mean difference, or first component.")] = "mean",
    at: Annotated[Literal["mean", "last"], typer.Option(help="States over the thought, or its last.")] = "mean",
    layers: Annotated[str | None, typer.Option(help="Layers to try, e.g. 3,4,5; default: all but the last.")] = None,
    kl: Annotated[float, typer.Option(min=1e-6, help="Divergence in nats at which layers are compared.")] = 0.01,
    held_out: HeldOut = 32,
    dtype: options.Dtype = None,
    max_tokens: MaxTokens = 1024,
    temperature: options.Temperature = 0.8,
    batch: Batch = 16,
    seed: Seed = 10_000,
    threads: options.Threads = None,
    format: options.Format = None,
    system: options.System = None,
    template: options.Template = None,
) -> None:
    """Find the direction for the controller steer, from this model's own short and long answers or from given pairs."""
    from rich.console import Console

    from laconic.bench.steer import Recipe, fit, given, own
    from laconic.bench.steer.pairs import write
    from laconic.bench.tasks import draw, load
    from laconic.engine import Engine
    from laconic.thinking.steer.direction import PAIRS
    from laconic.types import Limits, Sampling

    folder(out)
    recipe = Recipe(how, at, _numbers(layers), kl)
    options.settle(threads, model)
    spoken = options.spoken(format, system, template)
    problems = draw(load(tasks), n + held_out, seed)
    limits = Limits(max_tokens)
    with Console(stderr=True).status("loading") as status:
        drafter = "draft-model" if draft_model is not None or model == "bundled" else "suffix"
        engine = Engine.load(model, draft=draft_model, dtype=options.named_dtype(dtype), drafter=drafter, **spoken)
        if pairs is not None:
            made = given(pairs, engine.text)
        else:
            made = own(engine, problems[:-held_out], Sampling(temperature, seed=seed), limits, samples=samples,
                       batch=batch, after=lambda done: status.update(f"{done} of {n} problems"))  # fmt: skip
        about = {"model": model, "tasks": tasks, "temperature": temperature, "samples": samples, "n": n, "seed": seed}
        about["pairs"] = str(pairs) if pairs is not None else "own"
        found = fit(engine, made, problems[-held_out:], limits, recipe, batch=batch, after=status.update, about=about)
    found.save(out)
    write(out / PAIRS, made, engine.text)
    for line in sentences(found):
        typer.echo(line)
    typer.echo(f"wrote {out}; use it with --think steer:{out}", err=True)


def edit(
    out: Annotated[Path, typer.Argument(help="Where to write the checkpoint; new, or an empty directory.")],
    direction: Annotated[Path, typer.Option(help="Folder that laconic fit steer wrote, for this model.")],
    model: options.Model = "bundled",
    remove: Annotated[Literal["long", "short"], typer.Option(help="The way of thinking to take out.")] = "long",
    site: Annotated[
        Literal["attention", "residual"],
        typer.Option(help="Directions of attention outputs (ThinkEdit), or those of the folder."),
    ] = "attention",
    share: Annotated[float, typer.Option(min=0, max=1, help="Share of all attention heads to edit.")] = 0.04,
    weight: Annotated[float, typer.Option(min=0, help="How much of the direction goes; 1 is all.")] = 1.0,
    tasks: Tasks = None,
    held_out: HeldOut = 32,
    max_tokens: MaxTokens = 1024,
    batch: Batch = 16,
    seed: Seed = 20_000,
    threads: options.Threads = None,
    format: options.Format = None,
    system: options.System = None,
    template: options.Template = None,
) -> None:
    """Write a checkpoint with a way of thinking edited out of its attention heads (ThinkEdit), and measure it."""
    from rich.console import Console

    from laconic.bench.steer import given
    from laconic.bench.steer.checkpoint import write
    from laconic.bench.tasks import draw, load
    from laconic.engine import Engine
    from laconic.thinking.steer.direction import PAIRS
    from laconic.thinking.steer.direction import load as load_direction
    from laconic.types import Limits

    found = load_direction(direction)
    options.settle(threads, model)
    spoken = options.spoken(format, system, template)
    problems = draw(load(tasks), held_out, seed)
    with Console(stderr=True).status("loading"):
        engine = Engine.load(model, drafter="suffix", **spoken)
        found.suits(engine.target)
        vectors = {layer: -vector for layer, vector in found.vectors.items()} if site == "residual" else None
        pairs = given(direction / PAIRS, engine.text)
        made = write(engine, model, out, pairs, problems, Limits(max_tokens), way=remove, share=share, weight=weight,
                     vectors=vectors, batch=batch)  # fmt: skip
    for line in told(made):
        typer.echo(line)


def sentences(found: Direction) -> list[str]:
    """What was found, layer by layer."""
    about, free = found.about, found.about.free
    said = [
        f"{about.pairs} pairs; as it is the model thinks {free['thinking']:.1f} tokens on {free['n']} held-out "
        f"problems, {free['right']:.1%} right",
        f"layers at a divergence of {about.limit:g} nats a token:",
        f"{'layer':>7}{'strength':>10}{'thinking':>10}{'right':>8}   the other way:{'thinking':>9}{'right':>8}",
    ]
    for layer in about.layers:
        shorter, longer = layer.effect["shorter"], layer.effect["longer"]
        mark = "*" if layer.layer == about.layer else " "
        said.append(
            f"{mark}{layer.layer:>6}{shorter['strength']:>10.3f}{shorter['thinking']:>10.1f}{shorter['right']:>8.1%}"
            f"{'':18}{longer['thinking']:>9.1f}{longer['right']:>8.1%}{'   (sign turned)' if layer.flipped else ''}"
        )
    return said


def told(made: Edited) -> list[str]:
    """What was edited, and what came of it."""
    heads = ", ".join(f"{head.layer}.{head.head}" for head in made.heads)
    return [
        f"took {made.way} thinking out of {len(made.heads)} of {made.of} heads: {heads}",
        f"{made.before.n} held-out problems: {made.before.thinking:.1f} thinking tokens before, "
        f"{made.after.thinking:.1f} after; right {made.before.right:.1%} before, {made.after.right:.1%} after",
        f"wrote {made.path}",
    ]


def _numbers(layers: str | None) -> tuple[int, ...]:
    from laconic.errors import RequestError

    try:
        return tuple(int(part) for part in (layers or "").split(",") if part.strip())
    except ValueError:
        raise RequestError(f"'{layers}' are no layers.", "Give numbers: --layers 3,4,5.") from None
