"""``laconic fit specdec++`` and ``laconic fit ada-eagle``: the head of a learned length rule for a pair of models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from laconic.cli import options
from laconic.cli.fit.texts import asked, folder

if TYPE_CHECKING:
    from laconic.bench.fit import Recipe
    from laconic.speculation.heads import Trained

Out = Annotated[Path, typer.Argument(help="Folder to write the head into.")]
Texts = Annotated[int, typer.Option("--n", "-n", min=2, help="Texts that the target writes.")]
Tasks = Annotated[
    str | None, typer.Option(help="What texts are about: comma list of bundled kinds, gym:DATASET, or JSONL files.")
]
MaxTokens = Annotated[int, typer.Option(min=2, help="Most tokens of a text.")]
Batch = Annotated[int, typer.Option(min=1, help="Texts written at once.")]
Epochs = Annotated[int, typer.Option(min=1, help="Times that training goes over all texts.")]
Layers = Annotated[int, typer.Option(min=1, help="Layers of the head.")]
Seed = Annotated[int, typer.Option(help="Seed of problems, draws and training.")]


@dataclass(frozen=True, slots=True)
class Source:
    """Who writes the texts to learn from, about what, and how many."""

    model: str
    draft_model: str | None
    tasks: str | None
    n: int
    dtype: str | None
    max_tokens: int
    temperature: float
    batch: int
    seed: int
    threads: int | None
    spoken: dict[str, Any]


def specdec_pp(
    out: Out,
    model: options.Model = "bundled",
    draft_model: options.Draft = None,
    tasks: Tasks = None,
    n: Texts = 140,
    dtype: options.Dtype = None,
    max_tokens: MaxTokens = 600,
    temperature: options.Temperature = 0.0,
    batch: Batch = 16,
    epochs: Epochs = 20,
    layers: Layers = 3,
    weight: Annotated[float, typer.Option(min=1e-3, help="How much more a refused token counts.")] = 6.0,
    mixing: Annotated[
        float, typer.Option(min=0, max=0.99, help="Share of read tokens that are the target's own.")
    ] = 0.15,
    state: Annotated[
        Literal["at", "before"], typer.Option(help="Judge a token by the state at it (the paper), or before it.")
    ] = "at",
    seed: Seed = 10_000,
    threads: options.Threads = None,
    format: options.Format = None,
    system: options.System = None,
    template: options.Template = None,
) -> None:
    """Train the acceptance head that the length specdec++ goes by, on texts that the target writes here."""
    from laconic.bench.fit import Recipe

    spoken = options.spoken(format, system, template)
    source = Source(model, draft_model, tasks, n, dtype, max_tokens, temperature, batch, seed, threads, spoken)
    _train("specdec++", out, source, Recipe(epochs, layers, weight, mixing, state, seed=seed))


def ada_eagle(
    out: Out,
    model: options.Model = "bundled",
    draft_model: options.Draft = None,
    tasks: Tasks = None,
    n: Texts = 140,
    dtype: options.Dtype = None,
    max_tokens: MaxTokens = 600,
    temperature: options.Temperature = 0.0,
    batch: Batch = 16,
    epochs: Epochs = 20,
    layers: Layers = 3,
    most: Annotated[int, typer.Option(min=1, help="Longest draft to predict, in tokens.")] = 20,
    seed: Seed = 10_000,
    threads: options.Threads = None,
    format: options.Format = None,
    system: options.System = None,
    template: options.Template = None,
) -> None:
    """Train the head by which the length ada-eagle predicts a draft's length, on texts that the target writes here."""
    from laconic.bench.fit import Recipe

    spoken = options.spoken(format, system, template)
    source = Source(model, draft_model, tasks, n, dtype, max_tokens, temperature, batch, seed, threads, spoken)
    _train("ada-eagle", out, source, Recipe(epochs, layers, most=most, seed=seed))


def _train(method: str, out: Path, source: Source, recipe: Recipe) -> None:
    from rich.console import Console

    from laconic.bench.fit import fit
    from laconic.bench.tasks import draw, load
    from laconic.engine import Engine

    folder(out)
    options.settle(source.threads, source.model)
    problems = draw(load(source.tasks), source.n, source.seed)
    with Console(stderr=True).status("loading") as status:
        dtype = options.named_dtype(source.dtype)
        engine = Engine.load(
            source.model, draft=source.draft_model, dtype=dtype, drafter="draft-model", **source.spoken
        )
        requests = asked(engine, problems, source.temperature, source.seed, source.max_tokens)
        about = {
            "model": source.model,
            "draft_model": source.draft_model or source.model,
            "tasks": source.tasks,
            "temperature": source.temperature,
        }
        made = fit(method, engine, requests, recipe, batch=source.batch, after=status.update, about=about)
    made.save(out)
    for line in sentences(made):
        typer.echo(line)
    typer.echo(f"wrote {out}; use it with --length {method}:head={out}", err=True)


def sentences(made: Trained) -> list[str]:
    """What was trained and how good it is, on texts that it was not trained on."""
    about = made.about
    training: dict[str, Any] = dict(about.training)
    m: dict[str, Any] = dict(about.measures)
    parameters = sum(p.numel() for p in made.head.parameters())
    said = [
        f"{about.method}: a head of {parameters:,} weights on the {about.reads}'s hidden state ({about.inputs} inputs)",
        f"trained on {training['tokens']:,} tokens of {training['texts']} texts: {training['seconds_writing']:.1f} s "
        f"writing, {training['seconds_training']:.1f} s training",
        f"held out: {m['tokens']:,} tokens of {m['texts']} texts",
    ]
    if about.method == "specdec++":
        return [
            *said,
            f"AUC {m['auc']:.3f} (the draft model's own confidence: {m['auc_confidence']:.3f}); "
            f"{m['accepted']:.1%} of guesses accepted",
            f"mean chance stated {m['mean_chance']:.1%}, calibration error {m['calibration_error']:.3f}; with the "
            f"weight of refusals taken out {m['mean_chance_unweighted']:.1%}, {m['calibration_error_unweighted']:.3f}",
        ]
    return [
        *said,
        f"mean absolute error {m['error']:.2f} tokens, always the mean {m['error_of_the_mean']:.2f}; correlation "
        f"{m['correlation']:.2f}; {m['mean_accepted']:.2f} accepted on average, predicted too long {m['too_long']:.1%}",
    ]
