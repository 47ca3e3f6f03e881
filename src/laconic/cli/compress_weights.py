"""``laconic compress-weights``: a checkpoint whose bfloat16 weights take about 11 bits each, and are the same."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options

if TYPE_CHECKING:
    from laconic.models.dfloat11.write import Compressed


def compress_weights(
    source: Annotated[str, typer.Argument(help=f"{options.MODELS}.")],
    out: Annotated[Path, typer.Argument(help="Where to write; new, or an empty directory.")],
    cast: Annotated[
        bool, typer.Option("--cast", help="Round float32 and float16 weights to bfloat16 first, which loses bits.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Write a smaller checkpoint with the very same weights: bfloat16 exponents in a Huffman code (DFloat11)."""
    from laconic.models.dfloat11.write import compress

    made = compress(source, out, cast=cast)
    if json:
        typer.echo(jsonlib.dumps(made.as_dict(), indent=1))
    else:
        typer.echo("\n".join(_lines(made)))


def _lines(made: Compressed) -> list[str]:
    mib = 2**20
    found = [
        f"weights   {made.before / mib:,.1f} MiB -> {made.after / mib:,.1f} MiB, {made.ratio:.1%}",
        f"bits      {made.bits:.3f} a coded weight; {8 + made.entropy:.3f} is the bound: 8 of sign and mantissa, and "
        f"{made.entropy:.3f} of entropy in the exponent",
    ]
    if made.grown:
        shown = ", ".join(made.grown[:3]) + (" ..." if len(made.grown) > 3 else "")
        found.append(
            f"kept      {len(made.grown)} bfloat16 tensors as they are, which coding would not shrink: {shown}"
        )
    if made.other:
        found.append(f"kept      {made.other} tensors that are not bfloat16 as they are")
    if made.cast:
        found.append(f"cast      from {made.cast}: the copy is exact of the rounded weights, not of the source")
    return [*found, f"wrote {made.path} in {made.seconds:.1f} s"]
