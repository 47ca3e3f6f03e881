"""``laconic fit difficulty``: the probe by which ``route-by-probe`` tells easy questions from hard ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from laconic.cli import options
from laconic.cli.fit.texts import folder

if TYPE_CHECKING:
    from laconic.thinking.route.difficulty import Trained


def difficulty(
    out: Annotated[Path, typer.Argument(help="Folder to write the probe into.")],
    model: options.Model = "bundled",
    draft_model: options.Draft = None,
    tasks: Annotated[
        str | None,
        typer.Option(help="Problems with answers: comma list of bundled kinds, gym:DATASET, or JSONL files."),
    ] = None,
    n: Annotated[int, typer.Option("--n", "-n", min=4, help="Problems, a quarter of them held out.")] = 420,
    dtype: options.Dtype = None,
    quick: Annotated[str, typer.Option(help="The mode in which an easy question must be right.")] = "no-thinking",
    samples: Annotated[int, typer.Option(min=1, help="Answers to each problem in either mode.")] = 4,
    temperature: Annotated[float, typer.Option(min=0, help="Of these answers; at 0 there is one.")] = 0.6,
    right: Annotated[
        float, typer.Option(min=0, max=1, help="Samples right, as a share, that make a question easy or not hard.")
    ] = 0.75,
    units: Annotated[int, typer.Option(min=0, help="Units of a hidden layer; 0 for a softmax regression.")] = 0,
    max_tokens: Annotated[int, typer.Option(min=2, help="Most tokens of an answer and its thought.")] = 1024,
    batch: Annotated[int, typer.Option(min=1, help="Answers written at once.")] = 16,
    seed: Annotated[int, typer.Option(help="Seed of problems, draws and training.")] = 10_000,
    threads: options.Threads = None,
    format: options.Format = None,
    system: options.System = None,
    template: options.Template = None,
) -> None:
    """Train the probe that route-by-probe goes by, on how well the model answers with a thought and without."""
    from rich.console import Console

    from laconic.bench.fit.difficulty import Recipe, fit
    from laconic.bench.tasks import draw, load
    from laconic.engine import Engine
    from laconic.policy import registry

    folder(out)
    registry.build("think", quick)
    spoken = options.spoken(format, system, template)
    methods = options.Choice().methods(model, draft_model, thinking=False)
    options.settle(threads, model)
    items = draw(load(tasks), n, seed)
    recipe = Recipe(samples, temperature, quick, right, units=units, seed=seed)
    with Console(stderr=True).status("loading") as status:
        engine = Engine.load(model, draft=draft_model, dtype=options.named_dtype(dtype), **spoken, **methods.fields())
        about = {"model": model, "tasks": tasks}
        made = fit(engine, items, recipe, max_tokens=max_tokens, batch=batch, after=status.update, about=about)
    made.save(out)
    for line in sentences(made):
        typer.echo(line)
    typer.echo(f"wrote {out}; use it with --think route-by-probe:{out}", err=True)


def sentences(made: Trained) -> list[str]:
    """What was trained and how good it is, on problems that it was not trained on."""
    training: dict[str, Any] = dict(made.about.training)
    m: dict[str, Any] = dict(made.about.measures)
    low, high = m["accuracy_ci"]
    said = [
        f"a probe of {sum(p.numel() for p in made.network.parameters()):,} weights on the target's hidden state "
        f"({made.about.inputs} inputs)",
        f"trained on {training['problems']} problems, answered in {training['seconds']:.1f} s",
    ]
    for name, seen in m["by_class"].items():
        said.append(
            f"{name}: {seen['problems']} problems; right {seen['quick']:.0%} of the time by {training['quick']}, "
            f"{seen['free']:.0%} after a thought of {seen['thinking']:.0f} tokens (entropy {seen['entropy']:.3f})"
        )
    said.append(
        f"held out: {m['problems']} problems, {m['accuracy']:.0%} told right ({low:.0%} to {high:.0%}); always the "
        f"commonest class {m['accuracy_of_the_usual']:.0%}"
    )
    for name, row in zip(m["classes"], m["confusion"], strict=True):
        said.append(f"  {name} called " + ", ".join(f"{c} {n}" for c, n in zip(m["classes"], row, strict=True)))
    return said
