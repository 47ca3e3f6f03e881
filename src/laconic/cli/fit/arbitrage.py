"""``laconic fit arbitrage``: a router that tells when the large model would write a better step than the small one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from laconic.cli import options
from laconic.cli.fit.heads import Seed, Tasks

if TYPE_CHECKING:
    from laconic.collaboration.arbitrage import Router

_FEW = 20
"""Examples of better steps below which a router is doubted aloud."""


def arbitrage(
    out: Annotated[Path, typer.Argument(help="JSON file to write the router into.")],
    model: options.Model = "bundled",
    small_model: Annotated[str, typer.Option(help="The small model.")] = "bundled-draft",
    judge: Annotated[str, typer.Option(help="Who says which step is better.")] = "equations:unknown=1",
    margin: Annotated[float, typer.Option(min=0, max=1, help="By how much more it must score.")] = 0.0,
    tasks: Tasks = None,
    n: Annotated[int, typer.Option("--n", "-n", min=2, help="Problems that both think about.")] = 200,
    dtype: options.Dtype = None,
    max_tokens: Annotated[int, typer.Option(min=2, help="Most tokens of a thought and its answer.")] = 1024,
    temperature: options.Temperature = 0.6,
    seed: Seed = 10_000,
    threads: options.Threads = None,
) -> None:
    """Train the router that the collaboration policy arbitrage goes by, on steps of these two models."""
    from rich.console import Console

    from laconic.bench.fit.arbitrage import fit
    from laconic.bench.tasks import draw, load
    from laconic.collaboration import Pair
    from laconic.engine import Engine
    from laconic.errors import RequestError
    from laconic.judges.base import Judge
    from laconic.policy import registry
    from laconic.types import Limits, Sampling

    if not out.parent.is_dir() or out.is_dir():
        raise RequestError(f"'{out}' is no place for a file.", "Name a file in a folder that there is.")
    made = registry.build("judge", judge)
    assert isinstance(made, Judge)
    options.settle(threads, model)
    problems = draw(load(tasks), n, seed)
    with Console(stderr=True).status("loading") as status:
        pair = Pair(*(Engine.load(name, dtype=options.named_dtype(dtype)) for name in (model, small_model)))
        about = {"model": model, "small_model": small_model, "tasks": tasks, "judge": judge, "temperature": temperature}
        router = fit(
            pair, problems, made, Sampling(temperature, seed=seed), Limits(max_tokens), margin=margin,
            after=status.update, about=about,
        )  # fmt: skip
    router.save(out)
    for line in sentences(router):
        typer.echo(line)
    typer.echo(
        f"wrote {out}; use it with --small-model {small_model} --together arbitrage:{out},threshold=0.05", err=True
    )


def sentences(router: Router) -> list[str]:
    """What was learned, and how good it is on problems that it was not learned on."""
    told, m = router.training, router.measures
    said = [
        f"arbitrage: {told['steps']} steps of {told['problems']} problems in {told['seconds']:.1f} s; the large "
        f"model's was better at {told['better']:.1%}"
    ]
    if "auc" in m:
        alone = f"by the mean likelihood alone {m['auc_by_mean']:.3f}"
        said.append(f"held out: {m['steps']:.0f} steps, AUC {m['auc']:.3f} ({alone})")
    else:
        said.append(f"held out: {m['steps']:.0f} steps, none or all of them better: no AUC")
    if told["better"] * told["steps"] < _FEW:
        said.append("these are few examples of a better step, and the router may know nothing: raise --n")
    return said
