"""A search's record as one self-contained HTML page: the front of accuracy, tokens and time, and how it was found."""

from __future__ import annotations

from html import escape
from typing import Any

from laconic.bench import page

Record = dict[str, Any]


def render(record: Record) -> str:
    """The page. ``record`` is what ``Tuner.run`` returns with its provenance, or the same read back from JSON."""
    page.plots_available()
    title = f"laconic tuned on {record['n']} problems"
    head = (
        f"<h1>{escape(title)}</h1>\n<p class='lead'>First the fastest way to draft, which changes no answer; then the "
        "least thought that keeps the answers right.</p>"
    )
    failed = [f"{name} failed and is out of the search: {why}" for name, why in record["failures"].items()]
    return page.document(
        title,
        head,
        page.notes(failed, "warning"),
        page.tiles(_tiles(record)),
        _thinking(record),
        _drafting(record["speculation"]),
        page.provenance(record["provenance"], page.methods(record["chosen"])),
    )


def _tiles(record: Record) -> list[tuple[str, str, str]]:
    first, second = record["speculation"], record["thinking"]
    fastest = _best(first)
    tiles = [
        (f"{1 / fastest['time']:.2f}×", "as fast by drafting alone", f"{escape(first['best'])}; no answer changed.")
    ]
    if second:
        best, free = _best(second), second["candidates"][0]
        low, high = best["accuracy_ci"]
        tiles += [
            (
                f"{1 - best['thinking_tokens'] / free['thinking_tokens']:.0%}",
                "fewer thinking tokens",
                f"{best['thinking_tokens']:.0f} a problem in place of {free['thinking_tokens']:.0f}: "
                f"{escape(second['best'])}.",
            ),
            (
                f"{best['accuracy']:.1%}",
                "right answers",
                f"95 % CI {low:.1%} to {high:.1%}; free thinking {free['accuracy']:.1%}. {best['lost']} lost, "
                f"{best['won']} won.",
            ),
            (
                f"{1 / best['time']:.2f}×",
                "as fast in all",
                "Time per problem against free thinking with the same drafts.",
            ),
        ]
    runs = first["cost"]["runs"] + (second["cost"]["runs"] if second else 0)
    whole = first["cost"]["exhaustive"] + (second["cost"]["exhaustive"] if second else 0)
    tiles.append((f"{runs / whole:.0%}", "of an exhaustive search", f"{runs} answers were asked for, not {whole}."))
    return tiles


def _thinking(record: Record) -> str:
    second = record["thinking"]
    if not second:
        return "<h2>Thinking</h2>\n" + page.notes([f"thinking was left free: {record['thinking_not_tuned']}"])
    columns = ("", "right answers", "thinking<br>tokens", "time against<br>free thinking", "lost", "won", "problems")
    rows = [
        (
            "laconic" if row["name"] == second["best"] else "",
            (
                escape(row["name"]) + ("" if row["finished"] else "<small>dropped: it clearly lost answers</small>"),
                _accuracy(row),
                f"{row['thinking_tokens']:.0f}", f"{row['time']:.2f}", str(row["lost"]), str(row["won"]), str(row["n"]),
            ),
        )
        for row in sorted(second["candidates"], key=lambda row: row["thinking_tokens"])
    ]  # fmt: skip
    plots = (
        page.figure("Accuracy and thought", "The line is the front: nothing is both shorter and more often right.",
                    _front(second, "thinking_tokens", "thinking tokens per problem", "Accuracy and thought")),
        page.figure("Accuracy and time", "The same configurations by time per problem.",
                    _front(second, "time", "time per problem (free thinking: 1)", "Accuracy and time")),
    )  # fmt: skip
    return f"<h2>Thinking</h2>\n<div class='plots'>\n{''.join(plots)}</div>\n{page.table(columns, rows)}"


def _accuracy(row: Record) -> str:
    low, high = row["accuracy_ci"]
    return f"{row['accuracy']:.1%}<small>{low:.1%} to {high:.1%}</small>"


def _front(stage: Record, key: str, across: str, label: str) -> str:
    """Accuracy of every configuration over ``key``, with those that nothing beats joined."""
    from matplotlib.axes import Axes

    from laconic.bench.figure import COLOUR, legend, svg

    done = [row for row in stage["candidates"] if row["finished"]]
    front = [
        row
        for row in sorted(done, key=lambda row: row[key])
        if not any(_beats(other, row, key) for other in done)
    ]  # fmt: skip

    def draw(axes: Axes) -> None:
        axes.plot([row[key] for row in front], [100 * row["accuracy"] for row in front], color=COLOUR["laconic"],
                  linewidth=1.4, label="front")  # fmt: skip
        for row in done:
            low, high = (100 * bound for bound in row["accuracy_ci"])
            axes.plot([row[key]] * 2, [low, high], color=COLOUR["line"], linewidth=1.2, zorder=1)
        for chosen, colour, name in ((False, "baseline", "tried"), (True, "laconic", "chosen")):
            rows = [row for row in done if (row["name"] == stage["best"]) is chosen]
            axes.scatter([row[key] for row in rows], [100 * row["accuracy"] for row in rows], s=60 if chosen else 26,
                         linewidths=0, color=COLOUR[colour], label=name, zorder=3)  # fmt: skip
        free = stage["candidates"][0]
        axes.annotate("free thinking", (free[key], 100 * free["accuracy"]), xytext=(-6, 7), textcoords="offset points",
                      ha="right", color=COLOUR["muted"], fontsize=10.5)  # fmt: skip
        axes.set(xlabel=across, ylabel="right answers, % (95 % interval)")
        axes.set_xlim(left=0)
        legend(axes, 3)

    return svg(draw, label, 4.0)


def _beats(one: Record, other: Record, key: str) -> bool:
    a, b = (one["accuracy"], -one[key]), (other["accuracy"], -other[key])
    return a != b and a[0] >= b[0] and a[1] >= b[1]


def _drafting(stage: Record) -> str:
    columns = ("", "time against<br>plain decoding", "target passes<br>per problem", "problems")
    longest = max(row["time"] for row in stage["candidates"])
    rows = [
        (
            "laconic" if row["name"] == stage["best"] else "",
            (
                escape(row["name"]),
                f"<div class='bar' style='--share: {100 * row['time'] / longest:.0f}%'>{row['time']:.2f}</div>",
                f"{row['target_passes']:.0f}",
                str(row["n"]),
            ),
        )
        for row in sorted(stage["candidates"], key=lambda row: (-row["n"], row["time"]))
    ]
    rounds = "; ".join(f"{len(each['left'])} on {each['problems']} problems" for each in stage["rounds"])
    said = [f"Rounds, the better half of each going on: {rounds}", "All of them write what plain decoding writes"]
    return f"<h2>Drafting</h2>\n{page.table(columns, rows)}{page.notes(said)}"


def _best(stage: Record) -> Record:
    return next(row for row in stage["candidates"] if row["name"] == stage["best"])
