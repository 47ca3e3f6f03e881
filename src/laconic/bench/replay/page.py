"""A replay's record as one self-contained HTML page: tables and bars, no script, nothing from elsewhere."""

from __future__ import annotations

from html import escape
from importlib import resources
from typing import Any

from laconic.bench.replay.wording import COLUMNS, about, cells, notes, title

Record = dict[str, Any]

_QUARTERS = ("first", "second", "third", "last")


def render(record: Record) -> str:
    """The page. ``record`` is what ``replay`` returns, or the same read back from its JSON file."""
    style = resources.files("laconic.bench").joinpath("report.css").read_text(encoding="utf-8")
    name = "laconic replay"
    body = "\n".join((_head(record), *(_file(file) for file in record["files"]), _columns(), _provenance(record)))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _head(record: Record) -> str:
    said = "".join(f"<p class='note'>{escape(_sentence(note))}</p>\n" for note in notes(record))
    return (
        "<h1>What speculation and an early exit could save</h1>\n<p class='lead'>Recorded outputs, replayed through "
        f"drafters that need no model. Tokenizer: <b>{escape(record['setup']['tokenizer'])}</b>.</p>\n{said}"
    )


def _file(file: Record) -> str:
    warnings = [said for said in about(file) if said.startswith("LEFT OUT")]
    said = [said for said in about(file) if not said.startswith("LEFT OUT")]
    return (
        f"<h2>{escape(title(file))}</h2>\n"
        + "".join(f"<p class='warning'>{escape(text)}</p>\n" for text in warnings)
        + _table(file)
        + "<div class='plots'>\n"
        + _quarters(file, "by_request", "Quarter of the file: does a shared store warm up?")
        + _quarters(file, "by_place", "Quarter of each record's own output")
        + "</div>\n"
        + "".join(f"<p class='note'>{escape(_sentence(text))}</p>\n" for text in said)
    )


def _table(file: Record) -> str:
    head = "".join(f"<th>{column}</th>" for column in ("drafter", "length", *(name for name, _ in COLUMNS)))
    best = max(row["tokens_per_pass"] for row in file["drafts"])
    rows = []
    for row in file["drafts"]:
        length = row["length"] if row["shape"] == "chain" else f"{row['length']}, {row['shape']}"
        values = (escape(row["drafter"]), escape(length), *cells(row))
        marked = " class='laconic'" if row["tokens_per_pass"] == best else ""
        rows.append(f"<tr{marked}>" + "".join(f"<td>{value}</td>" for value in values) + "</tr>")
    return (
        f"<div class='scroll'><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(rows)
        + "\n</tbody></table></div>\n"
    )


def _quarters(file: Record, key: str, caption: str) -> str:
    """Tokens per pass of every variant by quarter; each figure is drawn as a bar behind it."""
    top = max((value for row in file["drafts"] for value in row[key] if value is not None), default=1.0)
    rows = []
    for row in file["drafts"]:
        bars = "".join(_bar(value, top) for value in row[key])
        rows.append(f"<tr><td>{escape(row['drafter'])}<small>{escape(row['length'])}</small></td>{bars}</tr>")
    head = "".join(f"<th>{name}</th>" for name in ("", *_QUARTERS))
    return (
        f"<figure><h3>Tokens per pass</h3><figcaption>{caption}</figcaption>\n<div class='scroll'><table>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody></table></div></figure>\n"
    )


def _bar(value: float | None, top: float) -> str:
    if value is None:
        return "<td>-</td>"
    share = 100 * value / top
    paint = f"background: linear-gradient(to right, var(--kept) {share:.0f}%, transparent {share:.0f}%)"
    return f"<td style='{paint}'>{value:.2f}</td>"


def _columns() -> str:
    listed = "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(meaning)}</dd>" for name, meaning in COLUMNS)
    return f"<h2>What the columns say</h2>\n<dl>\n{listed}\n</dl>"


def _provenance(record: Record) -> str:
    origin = record["provenance"]
    machine = origin["machine"]
    facts = {
        "machine": f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}",
        "versions": ", ".join([f"python {origin['python']}", *(f"{k} {v}" for k, v in origin["versions"].items())]),
        "commit": origin["commit"] or "not a checkout",
        "time": origin["time"],
    }
    listed = "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items())
    return f"<h2>How to reproduce</h2>\n<pre class='command'>{escape(origin['command'])}</pre>\n<dl>\n{listed}\n</dl>"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
