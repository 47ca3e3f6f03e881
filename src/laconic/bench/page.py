"""What every self-contained HTML page of ours is made of: no script, no font, no image from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib import import_module, resources
from typing import Any

from laconic.errors import MissingExtra


def plots_available() -> None:
    """Raise MissingExtra if plots cannot be drawn here."""
    try:
        import_module("matplotlib")
    except ImportError as error:
        raise MissingExtra("matplotlib", "bench") from error


def document(title: str, *sections: str) -> str:
    """A whole page from its sections' HTML. ``title`` is plain text."""
    style = resources.files("laconic.bench").joinpath("report.css").read_text(encoding="utf-8")
    body = "\n".join(sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def table(columns: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """A table that scrolls by itself. Columns and cells are HTML; each row has a class, empty for none."""
    head = "".join(f"<th>{column}</th>" for column in columns)
    body = "\n".join(
        (f"<tr class='{kind}'>" if kind else "<tr>") + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
        for kind, cells in rows
    )
    return f"<div class='scroll'><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>\n"


def figure(title: str, caption: str, drawing: str) -> str:
    """A plot or table with its heading; ``drawing`` is HTML, the others plain text."""
    return f"<figure><h3>{escape(title)}</h3><figcaption>{escape(caption)}</figcaption>\n{drawing}</figure>"


def tiles(cells: Sequence[tuple[str, str, str]]) -> str:
    """Big figures: each a number, what it counts, and a note. All HTML."""
    made = (
        f"<div class='tile'><b>{big}</b><span>{name}</span><small>{note}</small></div>" for big, name, note in cells
    )
    return "<div class='tiles'>\n" + "\n".join(made) + "\n</div>"


def notes(said: Sequence[str], kind: str = "note") -> str:
    """Plain sentences, a paragraph each; ``kind`` is ``note`` or ``warning``."""
    return "".join(f"<p class='{kind}'>{escape(sentence(text))}</p>\n" for text in said)


def sentence(text: str) -> str:
    """``text`` with a capital at its head and a full stop at its end."""
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def incidents(record: Mapping[str, Any]) -> list[str]:
    """What went wrong while a record was made, in sentences: an interruption, variants that failed."""
    said = ["The run was interrupted; these are the problems that were complete."] if record["interrupted"] else []
    for failure in record["failures"]:
        said.append(f"Left out, as {failure['variant']} failed: {', '.join(failure['items'])} ({failure['error']})")
    return said


def methods(setup: Mapping[str, Any]) -> dict[str, str]:
    """The methods of a setup by the name of what they decide."""
    named = {name: setup[name] for name in ("drafter", "length", "shape", "verifier")}
    return named | {"thinking control": " + ".join(setup["think"]) or "none"}


def model(told: Mapping[str, Any]) -> str:
    """One model of a record in a line: what it is and how its passes were made."""
    size = f"{told['model_type']} of {told['parameters']:,} parameters"
    return f"{size} in {told['dtype']} on {told['device']}, {told['path']}"


def provenance(origin: Mapping[str, Any], setup: Mapping[str, object] | None = None) -> str:
    """How a record came about: its command, ``setup`` by name, and the machine."""
    machine = origin["machine"]
    facts = {
        **(setup or {}),
        "machine": f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}",
        "threads": machine["threads"],
        "kernels": machine.get("kernels", "PyTorch"),
        **({"models": "; ".join(map(model, origin["models"]))} if origin.get("models") else {}),
        "versions": ", ".join([f"python {origin['python']}", *(f"{k} {v}" for k, v in origin["versions"].items())]),
        "commit": origin["commit"] or "not a checkout",
        "time": origin["time"],
    }
    command = f"<pre class='command'>{escape(origin['command'])}</pre>"
    return f"<h2>How to reproduce</h2>\n{command}\n{listed(facts)}"


def listed(facts: Mapping[str, object]) -> str:
    """Names and what they stand for, as a list."""
    lines = "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items())
    return f"<dl>\n{lines}\n</dl>"
