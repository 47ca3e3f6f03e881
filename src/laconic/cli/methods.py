"""``laconic methods``: every method there is."""

from __future__ import annotations

import json as jsonlib
from typing import Annotated, Any

import typer


def methods(
    name: Annotated[str | None, typer.Argument(help="Only this method, with what each of its knobs means.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print everything known, as JSON.")] = False,
    family: Annotated[str | None, typer.Option(help="Only one family, e.g. drafter or length.")] = None,
) -> None:
    """List every method: its family, paper, knobs, needs, and whether it is lossless."""
    import laconic.methods  # noqa: F401  (fills the registry)
    from laconic.errors import MethodError, did_you_mean
    from laconic.policy import FAMILIES

    from .describe import known

    if family is not None and family not in FAMILIES:
        raise MethodError(f"no family is called '{family}'.", did_you_mean(family, FAMILIES))
    listed = known(fam for fam in FAMILIES if family in (None, fam))
    if name is not None:
        found = [method for method in listed if method["name"] == name]
        if not found:
            raise MethodError(f"no method is called '{name}'.", did_you_mean(name, {m["name"] for m in listed}))
        listed = found
    if json:
        typer.echo(jsonlib.dumps(listed, indent=1, ensure_ascii=False))
    else:
        _show(listed, whole=name is not None)


def _show(listed: list[dict[str, Any]], *, whole: bool) -> None:
    """The methods by family; ``whole`` gives each knob a line of its own, with its meaning."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for family in dict.fromkeys(method["family"] for method in listed):
        table = Table(
            title=family, title_justify="left", title_style="bold", box=None, show_header=False, padding=(0, 2, 0, 0)
        )
        table.add_column(min_width=20, no_wrap=True)
        table.add_column(overflow="fold")
        for method in (m for m in listed if m["family"] == family):
            knobs = [_knob(knob) for knob in method["knobs"]]
            promise = "" if method["lossless"] else " [lossy]"
            about = Text.assemble(method["summary"], (promise, "yellow"), "\n", (_source(method), "dim"))
            if knobs and not whole:
                about.append(f"\nknobs: {', '.join(knobs)}", "dim")
            for said, knob in zip(knobs, method["knobs"], strict=True) if whole else ():
                about.append(f"\n{said}", "bold").append(f"  {knob['doc']}", "dim")
            table.add_row(Text(method["name"], "cyan"), about)
        console.print(table)
        console.print()


def _knob(knob: dict[str, Any]) -> str:
    return knob["name"] if knob["required"] else f"{knob['name']}={knob['default']!r}"


def _source(method: dict[str, Any]) -> str:
    numbers = ", ".join(f"#{number}" for number in method["catalogue"])
    arxiv = f"arXiv {method['arxiv']}" if method["arxiv"] else ""
    needs = f"needs {', '.join(method['needs'])}" if method["needs"] else ""
    return " · ".join(part for part in (method["paper"], numbers, arxiv, needs) if part)
