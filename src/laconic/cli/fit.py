"""``laconic fit``: train the head of a learned length rule for a pair of models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from . import options

if TYPE_CHECKING:
    from laconic.speculation.length.heads import Trained


def fit(
    method: Annotated[str, typer.Argument(help="Whose head: specdec++ or ada-eagle.")],
    out: Annotated[Path, typer.Argument(help="Folder to write the head into.")],
    model: options.Model = "bundled",
    draft_model: options.Draft = None,
    tasks: Annotated[
        str | None, typer.Option(help="What texts are about: comma list of bundled kinds, gym:DATASET, or JSONL files.")
    ] = None,
    n: Annotated[int, typer.Option("--n", "-n", min=2, help="Texts that the target writes.")] = 140,
    dtype: options.Dtype = None,
    max_tokens: Annotated[int, typer.Option(min=2, help="Most tokens of a text.")] = 600,
    temperature: options.Temperature = 0.0,
    batch: Annotated[int, typer.Option(min=1, help="Texts written at once.")] = 16,
    epochs: Annotated[int, typer.Option(min=1, help="Times that training goes over all texts.")] = 20,
    layers: Annotated[int, typer.Option(min=1, help="Layers of the head.")] = 3,
    weight: Annotated[float, typer.Option(min=1e-3, help="specdec++: how much more a refused token counts.")] = 6.0,
    mixing: Annotated[
        float, typer.Option(min=0, max=0.99, help="specdec++: share of read tokens that are the target's own.")
    ] = 0.15,
    state: Annotated[
        Literal["at", "before"],
        typer.Option(help="specdec++: judge a token by the state at it (the paper), or before it."),
    ] = "at",
    most: Annotated[int, typer.Option(min=1, help="ada-eagle: longest draft to predict, in tokens.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of problems, draws and training.")] = 10_000,
    threads: options.Threads = None,
) -> None:
    """Train the head that specdec++ or ada-eagle goes by, on texts that the target writes here."""
    from rich.console import Console

    from laconic.bench.fit import METHODS, Recipe
    from laconic.bench.fit import fit as train
    from laconic.bench.tasks import draw, load
    from laconic.engine import Engine
    from laconic.errors import RequestError, UnknownMethod, did_you_mean
    from laconic.types import Limits, Sampling

    if method not in METHODS:
        raise UnknownMethod(f"no method with a trained head is called '{method}'.", did_you_mean(method, METHODS))
    if out.exists() and not out.is_dir():
        raise RequestError(f"'{out}' is a file.", "Name a folder.")
    options.settle(threads, model)
    problems = draw(load(tasks), n, seed)
    with Console(stderr=True).status("loading") as status:
        engine = Engine.load(model, draft=draft_model, dtype=options.named_dtype(dtype), drafter="draft-model")
        requests = [
            engine.request(item.question, sampling=Sampling(temperature, seed=seed + at), limits=Limits(max_tokens))
            for at, item in enumerate(problems)
        ]
        recipe = Recipe(epochs, layers, weight, mixing, state, most, seed=seed)
        about = {"model": model, "draft_model": draft_model or model, "tasks": tasks, "temperature": temperature}
        made = train(method, engine, requests, recipe, batch=batch, after=status.update, about=about)
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
