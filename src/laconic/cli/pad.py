"""``laconic pad``: the function of a small model at the cost of a large one, as an ordinary checkpoint."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options

if TYPE_CHECKING:
    from laconic.models.pad import Padded


def pad(
    source: Annotated[str, typer.Argument(help=f"{options.MODELS}.")],
    out: Annotated[Path, typer.Argument(help="Where to write; new, or an empty directory.")],
    parameters: Annotated[str, typer.Option(help="About how many parameters: 0.3B, 25M.")],
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16; default: the source's.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Write a larger checkpoint that computes the same: zero weights wider, identity layers deeper."""
    from transformers.utils import logging

    from laconic.models.pad import pad as write

    logging.disable_progress_bar()
    made = write(source, out, parameters, options.named_dtype(dtype))
    if json:
        typer.echo(jsonlib.dumps(made.as_dict(), indent=1))
    else:
        _show(made)


def _show(made: Padded) -> None:
    old, new = made.old, made.new
    for name, before, after in (
        ("parameters", f"{old.parameters:,}", f"{new.parameters:,}"),
        ("width", old.width, new.width),
        ("layers", old.layers, new.layers),
        ("MLP width", old.mlp, new.mlp),
        ("query heads", old.heads, new.heads),
        ("key-value heads", old.kv_heads, new.kv_heads),
    ):
        typer.echo(f"{name:<16}{before:>14} -> {after}")
    rounding = "free of rounding" if made.exact else "rounded to float32"
    typer.echo(f"norm corrections are {rounding}; on a trial prompt logits differ by at most {made.difference:.1e} "
               f"(the largest is {made.largest:.1f}), the likeliest token is the same at {made.same_choice:.0%} "
               f"of positions")  # fmt: skip
    typer.echo(f"wrote {made.path} ({made.dtype})")
