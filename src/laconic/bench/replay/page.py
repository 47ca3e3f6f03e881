"""A replay's record as one self-contained HTML page: tables and bars, no script, nothing from elsewhere."""

from __future__ import annotations

from html import escape
from typing import Any

from laconic.bench import page
from laconic.bench.replay.wording import COLUMNS, about, cells, notes, title

Record = dict[str, Any]

_QUARTERS = ("first", "second", "third", "last")


def render(record: Record) -> str:
    """The page. ``record`` is what ``replay`` returns, or the same read back from its JSON file."""
    sections = [_file(file) for file in record["files"]]
    return page.document("laconic replay", _head(record), *sections, _columns(), page.provenance(record["provenance"]))


def _head(record: Record) -> str:
    return (
        "<h1>What speculation and an early exit could save</h1>\n<p class='lead'>Recorded outputs, replayed through "
        f"drafters that need no model. Tokenizer: <b>{escape(record['setup']['tokenizer'])}</b>.</p>\n"
        + page.notes(notes(record))
    )


def _file(file: Record) -> str:
    warnings = [said for said in about(file) if said.startswith("LEFT OUT")]
    said = [said for said in about(file) if not said.startswith("LEFT OUT")]
    return (
        f"<h2>{escape(title(file))}</h2>\n"
        + page.notes(warnings, "warning")
        + _table(file)
        + "<div class='plots'>\n"
        + _quarters(file, "by_request", "Quarter of the file: does a shared store warm up?")
        + _quarters(file, "by_place", "Quarter of each record's own output")
        + "</div>\n"
        + page.notes(said)
    )


def _table(file: Record) -> str:
    best = max(row["tokens_per_pass"] for row in file["drafts"])
    rows = []
    for row in file["drafts"]:
        length = row["length"] if row["shape"] == "chain" else f"{row['length']}, {row['shape']}"
        marked = "laconic" if row["tokens_per_pass"] == best else ""
        rows.append((marked, (escape(row["drafter"]), escape(length), *cells(row))))
    return page.table(["drafter", "length", *(name for name, _ in COLUMNS)], rows)


def _quarters(file: Record, key: str, caption: str) -> str:
    """Tokens per pass of every variant by quarter; each figure is drawn as a bar behind it."""
    top = max((value for row in file["drafts"] for value in row[key] if value is not None), default=1.0)
    rows = [
        ("", (f"{escape(row['drafter'])}<small>{escape(row['length'])}</small>", *(_bar(v, top) for v in row[key])))
        for row in file["drafts"]
    ]
    return page.figure("Tokens per pass", caption, page.table(["", *_QUARTERS], rows))


def _bar(value: float | None, top: float) -> str:
    if value is None:
        return "-"
    return f"<div class='bar' style='--share: {100 * value / top:.0f}%'>{value:.2f}</div>"


def _columns() -> str:
    return f"<h2>What the columns say</h2>\n{page.listed(dict(COLUMNS))}"
