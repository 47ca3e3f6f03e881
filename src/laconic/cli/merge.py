"""``laconic merge``: several models of one architecture into one."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from laconic.errors import RequestError

from . import options

if TYPE_CHECKING:
    from laconic.training.merging import Aim, Merged


def merge(
    out: Annotated[Path, typer.Argument(help="Where to write; new, or an empty directory.")],
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL[:WEIGHT]...", help=f"What to merge. {options.MODELS}; or an adapter's folder."),
    ],
    method: Annotated[
        str,
        typer.Option(
            "--method", help="linear, slerp, lore, task-arithmetic, ties or dare; the last three need --base."
        ),
    ] = "linear",
    base: Annotated[str | None, typer.Option("--base", help="The model that the others were trained from.")] = None,
    density: Annotated[
        float | None,
        typer.Option("--density", help="Share of differences that ties (default 0.2) and dare (0.1) keep."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the draws of dare.")] = 0,
    mu: Annotated[
        float | None, typer.Option("--mu", help="By how much lore shrinks singular values (default 0.01).")
    ] = None,
    iterations: Annotated[
        int | None, typer.Option("--iterations", help="Turns in which lore estimates, at most (default 20).")
    ] = None,
    aim: Annotated[
        Path | None,
        typer.Option(
            "--aim",
            metavar="FILE",
            help="After a method with a base: hold back what changes where the base has large inputs on these texts, "
            'JSON lines with a "text" each, or a text on each line.',
        ),
    ] = None,
    omega: Annotated[
        float | None,
        typer.Option("--omega", help="What --aim leaves of the change in a layer's largest channel (default 0.4)."),
    ] = None,
    aim_tokens: Annotated[
        int | None, typer.Option("--aim-tokens", help="Most tokens of the texts of --aim (default 131,072).")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            help="Where the base reads them: auto (the default: an accelerator if there is one), cpu, cuda, "
            "cuda:1, mps, xpu, or spread: over several.",
        ),
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option(
            "--sweep",
            metavar="START:STOP:STEP",
            help="Weights of the second of two models, as 0:1:0.25; each is written into a folder of OUT.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON; of a sweep, a list of them.")] = False,
) -> None:
    """Merge models that were trained from one base: long thoughts and short ones, by arithmetic on their weights."""
    from laconic.training.merging import Plan, check_place, read_models, read_sweep
    from laconic.training.merging import merge as write

    from .quiet import quiet

    quiet()
    names, weights = read_models(models)
    step = _step(aim, omega, aim_tokens, device)
    plans = [(out, Plan(method, weights, density, seed, mu, iterations, step))]
    if sweep is not None:
        if len(names) != 2 or list(names) != models or method not in ("linear", "slerp"):
            raise RequestError("a sweep is linear or slerp, between two models without weights.", "Name two models.")
        check_place(out)
        plans = [(out / str(t), Plan(method, (float(1 - t), float(t)))) for t in read_sweep(sweep)]
    made = []
    for place, plan in plans:
        made.append(write(place, names, plan, base=base, device=device or "auto"))
        if not json:
            typer.echo("\n".join(_lines(made[-1], first=len(made) == 1)))
    if json:
        told = [each.as_dict() for each in made]
        typer.echo(jsonlib.dumps(told[0] if sweep is None else told, indent=1))


def _step(texts: Path | None, omega: float | None, tokens: int | None, device: str | None) -> Aim | None:
    from laconic.training.merging import Aim

    if texts is not None:
        aim = Aim(str(texts))
        return Aim(str(texts), aim.omega if omega is None else omega, aim.tokens if tokens is None else tokens)
    if (omega, tokens, device) != (None, None, None):
        raise RequestError("--omega, --aim-tokens and --device are for texts, and there are none.", "Say --aim FILE.")
    return None


def _lines(made: Merged, *, first: bool) -> list[str]:
    plan = made.plan
    shown = " + ".join(f"{weight:g} {name}" for name, weight in zip(made.models, plan.weights, strict=True))
    lines = [f"note: {note}" for note in made.notes if first]
    lines.append(f"{plan.method}: {shown}" + ("" if made.base is None else f", from {made.base}"))
    if plan.aim is not None and made.calibration is not None:
        lines.append(f"aim: omega {plan.aim.omega:g}, {made.calibration.tokens:,} tokens of {plan.aim.texts}")
    return [*lines, f"wrote {made.path}: {made.tensors} tensors, {made.parameters:,} parameters"]
