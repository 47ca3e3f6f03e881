"""``laconic fit judge-head``: the head by which the relaxation judge-head lets refused guesses stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from laconic.cli import options
from laconic.cli.fit.heads import Batch, Epochs, MaxTokens, Out, Seed, Tasks, Texts
from laconic.cli.fit.texts import asked, folder

if TYPE_CHECKING:
    from laconic.speculation.heads import Trained


def judge_head(
    out: Out,
    model: options.Model = "bundled",
    draft_model: options.Draft = None,
    tasks: Tasks = None,
    n: Texts = 280,
    dtype: options.Dtype = None,
    max_tokens: MaxTokens = 600,
    temperature: options.Temperature = 0.0,
    batch: Batch = 16,
    epochs: Epochs = 100,
    layers: Annotated[int, typer.Option(min=0, help="Residual layers before the linear one; the paper has none.")] = 0,
    weight: Annotated[float, typer.Option(min=1e-3, help="How much more a mistake counts.")] = 1.0,
    seed: Seed = 10_000,
    threads: options.Threads = None,
    format: options.Format = None,
    system: options.System = None,
    template: options.Template = None,
) -> None:
    """Train the head that the relaxation judge-head goes by: tokens that are not the target's and do no harm."""
    from rich.console import Console

    from laconic.bench.fit.judge_head import Recipe, fit
    from laconic.bench.tasks import draw, load
    from laconic.engine import Engine

    folder(out)
    options.settle(threads, model)
    problems = draw(load(tasks), n, seed)
    with Console(stderr=True).status("loading") as status:
        spoken = options.spoken(format, system, template)
        engine = Engine.load(
            model, draft=draft_model, dtype=options.named_dtype(dtype), drafter="draft-model", **spoken
        )
        requests = asked(engine, problems, temperature, seed, max_tokens)
        about = {
            "model": model,
            "draft_model": draft_model or model,
            "tasks": tasks,
            "temperature": temperature,
        }
        recipe = Recipe(epochs, layers, weight, seed=seed)
        made = fit(engine, requests, recipe, batch=batch, after=status.update, about=about)
    made.save(out)
    for line in sentences(made):
        typer.echo(line)
    typer.echo(f"wrote {out}; use it with --verify match:relax=[judge-head:head={out}]", err=True)


def sentences(made: Trained) -> list[str]:
    """What was trained and how good it is, on texts that it was not trained on."""
    about = made.about
    training: dict[str, Any] = dict(about.training)
    m: dict[str, Any] = dict(about.measures)
    parameters = sum(p.numel() for p in made.head.parameters())
    return [
        f"{about.method}: a head of {parameters:,} weights on the target's hidden state ({about.inputs} inputs)",
        f"trained on {training['guesses']:,} refused guesses of {training['texts']} texts, {training['harmless']:.1%} "
        f"of them harmless: {training['seconds_trying']:.1f} s trying, {training['seconds_training']:.1f} s training",
        f"held out: {m['guesses']:,} guesses of {m['texts']} texts, {m['harmless']:.1%} harmless",
        f"AUC {m['auc']:.3f} (the draft model's own confidence: {m['auc_confidence']:.3f}), calibration error "
        f"{m['calibration_error']:.3f}",
        *(
            f"above {bar}: {stand:.1%} of guesses stand, {wrong:.1%} of the mistakes with them"
            for bar, (stand, wrong) in m["standing"].items()
        ),
    ]
