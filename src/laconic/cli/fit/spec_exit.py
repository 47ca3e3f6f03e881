"""``laconic fit spec-exit``: the heads by which the thinking control spec-exit ends thoughts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from laconic.cli import options
from laconic.cli.fit.heads import Batch, Epochs, Out, Seed, Tasks
from laconic.cli.fit.texts import asked, folder

if TYPE_CHECKING:
    from laconic.thinking.exit.signals import Trained


def spec_exit(
    out: Out,
    model: options.Model = "bundled",
    tasks: Tasks = None,
    n: Annotated[int, typer.Option("--n", "-n", min=2, help="Problems that the model thinks about.")] = 400,
    dtype: options.Dtype = None,
    max_tokens: Annotated[int, typer.Option(min=2, help="Most tokens of a thought and its answer.")] = 2048,
    temperature: options.Temperature = 0.0,
    batch: Batch = 16,
    epochs: Epochs = 40,
    width: Annotated[int, typer.Option(min=0, help="Units of the heads' hidden layer; 0 for linear heads.")] = 32,
    label: Annotated[
        Literal["right", "final"],
        typer.Option(help="What confidence is of: that an answer forced here is right, or that it is the final one."),
    ] = "right",
    seed: Seed = 10_000,
    threads: options.Threads = None,
    format: options.Format = None,
    system: options.System = None,
    template: options.Template = None,
) -> None:
    """Train the heads that the thinking control spec-exit goes by, on free thoughts of this model."""
    from rich.console import Console

    from laconic.bench.fit.spec_exit import Recipe, fit
    from laconic.bench.tasks import draw, load
    from laconic.engine import Engine

    folder(out)
    options.settle(threads, model)
    problems = draw(load(tasks), n, seed)
    with Console(stderr=True).status("loading") as status:
        engine = Engine.load(model, dtype=options.named_dtype(dtype), **options.spoken(format, system, template))
        requests = asked(engine, problems, temperature, seed, max_tokens)
        about = {"model": model, "tasks": tasks, "temperature": temperature}
        recipe = Recipe(epochs, width, label, seed=seed)
        made = fit(engine, problems, requests, recipe, batch=batch, after=status.update, about=about)
    made.save(out)
    for line in sentences(made):
        typer.echo(line)
    typer.echo(f"wrote {out}; use it with --think spec-exit:head={out}", err=True)


def sentences(made: Trained) -> list[str]:
    """What was trained and how good it is, on thoughts that it was not trained on."""
    about = made.about
    training: dict[str, Any] = dict(about.training)
    m: dict[str, Any] = dict(about.measures)
    parameters = sum(p.numel() for p in made.head.parameters())
    return [
        f"{about.method}: heads of {parameters:,} weights on the model's hidden state ({about.inputs} inputs)",
        f"trained on {training['steps']:,} steps of {training['thoughts']} thoughts: "
        f"{training['seconds_thinking']:.1f} s thinking and asking, {training['seconds_training']:.1f} s training",
        f"held out: {m['steps']:,} steps of {m['thoughts']} thoughts",
        f"confidence: AUC {m['auc']:.3f} (by length alone {m['auc_by_length']:.3f}), calibration error "
        f"{m['calibration_error']:.3f}; settled at {m['settled']:.1%} of steps",
        f"progress: mean absolute error {m['progress_error']:.3f}, always the mean "
        f"{m['progress_error_of_the_mean']:.3f}",
        f"remaining: mean absolute error {m['remaining_error']:.1f} tokens, always the median "
        f"{m['remaining_error_of_the_median']:.1f}",
    ]
