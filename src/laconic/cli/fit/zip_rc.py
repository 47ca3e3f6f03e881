"""``laconic fit zip-rc``: the head by which the scaling policy zip-rc foresees how attempts will end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from laconic.cli import options
from laconic.cli.fit.heads import Batch, Epochs, Out, Seed, Tasks
from laconic.cli.fit.texts import folder

if TYPE_CHECKING:
    from laconic.scaling.outlook.head import Trained

_FAIR = 0.6
"""Area under the ROC curve below which a head is doubted aloud."""


def zip_rc(
    out: Out,
    model: options.Model = "bundled",
    tasks: Tasks = None,
    n: Annotated[int, typer.Option("--n", "-n", min=2, help="Problems.")] = 300,
    samples: Annotated[int, typer.Option(min=1, help="Attempts at each.")] = 4,
    dtype: options.Dtype = None,
    max_tokens: Annotated[int, typer.Option(min=2, help="Most tokens of a thought and its answer.")] = 2048,
    temperature: options.Temperature = 0.8,
    batch: Batch = 16,
    epochs: Epochs = 30,
    width: Annotated[int, typer.Option(min=0, help="Units of the head's hidden layer; 0 for a linear head.")] = 32,
    seed: Seed = 10_000,
    threads: options.Threads = None,
    format: options.Format = None,
    system: options.System = None,
    template: options.Template = None,
) -> None:
    """Train the head that the scaling policy zip-rc goes by, on this model's attempts at problems that are judged."""
    from rich.console import Console

    from laconic.bench.fit.zip_rc import Recipe, fit
    from laconic.bench.tasks import draw, load
    from laconic.engine import Engine
    from laconic.types import Limits, Sampling

    folder(out)
    options.settle(threads, model)
    problems = draw(load(tasks), n, seed)
    with Console(stderr=True).status("loading") as status:
        engine = Engine.load(model, dtype=options.named_dtype(dtype), **options.spoken(format, system, template))
        about = {"model": model, "tasks": tasks, "temperature": temperature, "samples": samples}
        made = fit(
            engine, problems, samples, Sampling(temperature, seed=seed), Limits(max_tokens),
            Recipe(epochs, width, seed=seed), batch=batch, after=status.update, about=about,
        )  # fmt: skip
    made.save(out)
    for line in sentences(made):
        typer.echo(line)
    typer.echo(f"wrote {out}; use it with --scaling zip-rc:{out}", err=True)


def sentences(made: Trained) -> list[str]:
    """What was trained and how good it is, on problems that it was not trained on."""
    told: dict[str, Any] = dict(made.about.training)
    m: dict[str, Any] = dict(made.about.measures)
    parameters = sum(p.numel() for p in made.head.parameters())
    doubt = m["auc"] < _FAIR or m["left_error"] > m["left_error_of_the_median"]
    return ["it foresees little on held-out problems: raise --n or --samples, or take harder problems"] * doubt + [
        f"zip-rc: a head of {parameters:,} weights on the model's hidden state ({made.about.inputs} inputs)",
        f"trained on {told['steps']:,} steps, {told['right']:.1%} of attempts that were right: "
        f"{told['seconds_writing']:.1f} s writing, {told['seconds_training']:.1f} s training",
        f"held out: {m['steps']:,} steps; right: AUC {m['auc']:.3f}, calibration error {m['calibration_error']:.3f}",
        f"tokens left: mean absolute error {m['left_error']:.1f}, always the median "
        f"{m['left_error_of_the_median']:.1f}",
    ]
