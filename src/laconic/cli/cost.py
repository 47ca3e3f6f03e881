"""``laconic cost``: what a pass costs on this machine, and what it would cost elsewhere."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .compare import writable

if TYPE_CHECKING:
    from laconic.bench.cost import Anatomy, CostModel, Hardware

TOKENS = (1, 2, 4, 8, 16, 32, 64)


def cost(
    model: options.Model = "bundled",
    hardware: Annotated[
        list[str] | None,
        typer.Option(help="Hardware to predict for, by name or comma list: h100, l4, cpu (measured). Repeatable."),
    ] = None,
    dtype: options.Dtype = None,
    threads: options.Threads = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure again, whatever the cache holds.")] = False,
    json: Annotated[Path | None, typer.Option("--json", help="Write the record to this file.")] = None,
) -> None:
    """Show how the time of a pass grows with its tokens: measured, fitted, and predicted for other hardware."""
    if json is not None:
        writable(json)
    from laconic.bench.cost import PRESETS, Anatomy, pass_cost
    from laconic.bench.cost import hardware as find
    from laconic.models.load import load_model

    names = [name.strip() for part in hardware or () for name in part.split(",") if name.strip()]
    options.settle(threads, model)
    precision = options.named_dtype(dtype)
    # An unknown name is refused before anything is loaded; `cpu` takes a second, and is measured with the threads set.
    devices = [find(name) for name in names] if hardware else [PRESETS["h100"], PRESETS["l4"]]
    lm = load_model(model, dtype=precision)
    curve = pass_cost(lm, fresh=fresh, say=lambda text: typer.echo(text, err=True))
    anatomy = Anatomy.of(lm.model.config)
    rows = [_row(device, anatomy, _contexts(curve), lm.model.dtype.itemsize) for device in devices]
    if json is not None:
        json.write_text(jsonlib.dumps(_record(model, curve, anatomy, rows), indent=1) + "\n", encoding="utf-8")
    _show(model, curve, rows)
    if json is not None:
        typer.echo(f"wrote {json}", err=True)


def _contexts(curve: CostModel) -> list[int]:
    return sorted({cell.context for cell in curve.cells})


def _row(device: Hardware, anatomy: Anatomy, contexts: list[int], itemsize: int) -> dict[str, Any]:
    """Predicted relative pass times on one device, by context. A measured CPU is given the weights as they are here."""
    from laconic.bench.cost import Knobs, pass_time, relative

    knobs = Knobs(weight_bytes=itemsize, cache_bytes=itemsize) if device.reached else Knobs()
    one = pass_time(anatomy, device, 1, contexts[-1], knobs=knobs)
    return {
        "name": device.name,
        "title": device.title,
        "source": device.source,
        "seconds": one.seconds,
        "bound": one.bound,
        "fits": one.fits,
        "weight_bytes": knobs.weight_bytes,
        "relative": {c: {n: relative(anatomy, device, n, c, knobs) for n in TOKENS} for c in contexts},
    }


def _record(model: str, curve: CostModel, anatomy: Anatomy, rows: list[dict[str, Any]]) -> dict[str, Any]:
    from dataclasses import asdict

    from laconic.bench.provenance import provenance

    fitted = {c: {n: curve.relative(n, c) for n in TOKENS} for c in _contexts(curve)}
    return {
        "model": model,
        "parameters": anatomy.parameters,
        "cost": asdict(curve) | {"knee": curve.knee},
        "relative": fitted,
        "hardware": rows,
        "provenance": provenance(),
    }


def _show(model: str, curve: CostModel, rows: list[dict[str, Any]]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(title=f"time of a pass of {model}, in passes over one token", title_justify="left", box=SIMPLE,
                  padding=(0, 1), collapse_padding=True, pad_edge=False)  # fmt: skip
    table.add_column("tokens in the pass", no_wrap=True)
    for n in TOKENS:
        table.add_column(str(n), justify="right", no_wrap=True)
    measured = {(cell.tokens, cell.context): cell.seconds for cell in curve.cells if cell.requests == 1}
    for c in _contexts(curve):
        one = measured.get((1, c))
        shown = [f"{measured[n, c] / one:.2f}" if one and (n, c) in measured else "-" for n in TOKENS]
        table.add_row(f"measured, context {c}", *shown)
        table.add_row(f"fitted, context {c}", *(f"{curve.relative(n, c):.2f}" for n in TOKENS), style="dim")
    for row in rows:
        last = max(row["relative"])
        table.add_row(f"{row['name']} (predicted), {last}", *(f"{row['relative'][last][n]:.2f}" for n in TOKENS))
    console.print(table)
    for sentence in _sentences(curve, rows):
        console.print(sentence, soft_wrap=not console.is_terminal)


def _sentences(curve: CostModel, rows: list[dict[str, Any]]) -> list[str]:
    """What the table does not say: how well the curve is known, and what the predictions rest on."""
    spreads = sorted(cell.spread for cell in curve.cells)
    knee = f", knee at {curve.knee:.0f} tokens" if curve.knee else ""
    held_out = f", {curve.held_out:.1%} on token counts left out" if curve.held_out is not None else ""
    said = [
        f"fit: form '{curve.form}'{knee}; error {curve.error:.1%}{held_out}; "
        f"spread of the measurements {spreads[len(spreads) // 2]:.1%} (median half quartile distance)",
        f"one more token costs {curve.marginal(1, 0) / curve.seconds(1, 0):.1%} of a one-token pass at first, "
        f"{curve.marginal(64, 0) / curve.seconds(1, 0):.1%} beyond 64",
    ]
    for row in rows:
        fits = "" if row["fits"] else "; does NOT fit one device's memory"
        said.append(
            f"{row['name']}: {row['title']}, a one-token pass {row['seconds'] * 1e3:.2f} ms predicted, "
            f"{row['bound']}-bound, {row['weight_bytes']:g} bytes a weight{fits} ({row['source']})"
        )
    return said
