"""A promise's record as one self-contained HTML page: what is promised, how it was tested, and what was shown apart."""

from __future__ import annotations

from html import escape
from typing import Any

from laconic.bench import page

Record = dict[str, Any]

_HARM = {"right-answers-lost": "right answers lost", "answers-changed": "answers changed or lost"}


def render(record: Record) -> str:
    """The page. ``record`` is what ``Calibration.run`` returns with its provenance, or the same read from JSON."""
    page.plots_available()
    title = f"laconic: harm below {_share(record['harm'])}"
    lead = (
        f"Harm is {_HARM[record['kind']]}, counted prompt by prompt against free thinking. The settings were tested "
        "from the safest on, and the first that failed ended the test."
    )
    return page.document(
        title,
        f"<h1>{escape(title)}</h1>\n<p class='lead'>{escape(lead)}</p>",
        page.notes(*_verdict(record)),
        page.tiles(_tiles(record)),
        _settings(record),
        _shown(record["shown"]),
        page.provenance(record["provenance"], _setup(record)),
    )


def _share(value: float) -> str:
    return f"{100 * value:g} %"


def _verdict(record: Record) -> tuple[list[str], str]:
    if record["promise"] is None:
        return [f"Nothing is promised, and thinking is left free: {record['why_not']}"], "warning"
    promise = record["promise"]
    return [
        f"With {_share(promise['confidence'])} confidence, fewer than {_share(promise['harm'])} of prompts like these "
        f"are harmed by {' + '.join(promise['think'])}: {promise['harms']} of {promise['n']} calibration prompts were, "
        f"and up to {record['allowed']} would have passed",
        "That holds for this model, these words around the prompts, this sampling and these limits, and for prompts "
        "drawn independently from where the calibration prompts came from; for nothing else",
    ], "note"


def _tiles(record: Record) -> list[tuple[str, str, str]]:
    n, free = record["n"], record["free"]
    tiles = [
        (str(n), "calibration prompts", f"{free['at_stake']} of them could be harmed, {record['allowed']} may be."),
    ]
    if record["promise"] is None:
        return tiles
    row = next(row for row in record["settings"] if row["think"] == record["best"])
    spared = f"{row['thinking_tokens']:.0f} a prompt in place of {free['thinking_tokens']:.0f}, in calibration."
    tiles.insert(0, (f"{row['saved']:.0%}", "fewer thinking tokens", spared))
    tiles.append((str(row["harms"]), "harmed in calibration", f"{row['harms'] / n:.2%} of the prompts."))
    if shown := record["shown"]:
        low, high = shown["harm_ci"]
        tiles.append((f"{shown['harms']} of {shown['n']}", "harmed where shown",
                      f"Prompts that chose nothing; 95 % interval {low:.1%} to {high:.1%}."))  # fmt: skip
    return tiles


def _settings(record: Record) -> str:
    columns = ("", "harmed", "of prompts", "p-value", "upper bound", "thinking<br>tokens", "saved", "won")
    rows = [
        (
            "laconic" if row["think"] == record["best"] else "",
            (
                escape(row["think"]) + _fate(row), str(row["harms"]), str(row["n"]), _test(row["p_value"], ".4f"),
                _test(row["upper_bound"], ".2%"), f"{row['thinking_tokens']:.0f}", f"{row['saved']:.1%}",
                "" if row["won"] is None else str(row["won"]),
            ),
        )
        for row in record["settings"]
    ]  # fmt: skip
    said = [
        f"A setting passes if its p-value is at most {1 - record['confidence']:.4g}. The upper bound is that of "
        "Clopper and Pearson for the setting by itself; what all tests promise together is the limit"
    ]
    if record["not_tried"]:
        said.append(f"Not tried, being bolder than one that failed: {', '.join(record['not_tried'])}")
    if record["repeated"]:
        said.append(f"{record['repeated']} prompts only repeated others and were left out")
    if record["reused"]:
        said.append(f"{record['reused']} answers were not written again, since the setting cannot have touched them")
    plot = page.figure(
        "Harm and thought", "Share of the prompts harmed, with its upper bound; the line is the limit.", _plot(record)
    )
    return f"<h2>Calibration</h2>\n{plot}\n{page.table(columns, rows)}{page.notes(said)}"


def _fate(row: Record) -> str:
    if row["passed"]:
        return ""
    return (
        "<small>failed</small>" if row["p_value"] is not None else "<small>failed: too many, asked no further</small>"
    )


def _test(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _plot(record: Record) -> str:
    from matplotlib.axes import Axes

    from laconic.bench.figure import COLOUR, legend, svg

    def draw(axes: Axes) -> None:
        limit = 100 * record["harm"]
        axes.axhline(limit, color=COLOUR["bad"], linewidth=1.2, label="limit")
        for passed, colour, name in ((True, "laconic", "passed"), (False, "baseline", "failed")):
            rows = [row for row in record["settings"] if row["passed"] is passed]
            for row in rows:
                if row["upper_bound"] is not None:
                    axes.plot([row["thinking_tokens"]] * 2, [100 * row["harms"] / row["n"], 100 * row["upper_bound"]],
                              color=COLOUR["line"], linewidth=1.2, zorder=1)  # fmt: skip
            rates = [100 * row["harms"] / row["n"] for row in rows]
            axes.scatter([row["thinking_tokens"] for row in rows], rates, s=40,
                         linewidths=0, color=COLOUR[colour], label=name, zorder=3)  # fmt: skip
        axes.set(xlabel="thinking tokens per prompt", ylabel="prompts harmed, %")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        legend(axes, 3)

    return svg(draw, "Harm and thought", 3.6)


def _shown(shown: Record | None) -> str:
    if shown is None:
        return ""
    columns = ("", "right answers", "thinking<br>tokens", "target passes", "time against<br>free thinking")
    ratio = shown["ratio"]
    rows = [
        (
            kind,
            (
                name, _accuracy(shown[key]), f"{shown[key]['mean']['thinking_tokens']:.0f}",
                f"{shown[key]['mean']['target_passes']:.0f}", time,
            ),
        )
        for kind, key, name, time in (
            ("", "free", "free thinking", "1"),
            ("laconic", "promised", "promised", f"{ratio['seconds']:.2f}"),
        )
    ]  # fmt: skip
    low, high = shown["harm_ci"]
    said = [
        f"{shown['n']} prompts that had no say in the choice: {shown['harms']} harmed, "
        f"{shown['harms'] / shown['n']:.2%} (95 % interval {low:.2%} to {high:.2%}); {_saving(ratio)}"
    ]
    return f"<h2>On prompts kept apart</h2>\n{page.table(columns, rows)}{page.notes(said)}" + page.notes(
        page.incidents(shown), "warning"
    )


def _saving(ratio: Record) -> str:
    if ratio["thinking_tokens"] is None:
        return "none of them was thought about"
    around = ""
    if ratio["thinking_tokens_ci"] is not None:
        low, high = ratio["thinking_tokens_ci"]
        around = f" (95 % interval {1 - high:.1%} to {1 - low:.1%})"
    return f"{1 - ratio['thinking_tokens']:.1%} fewer thinking tokens{around}"


def _accuracy(summary: Record) -> str:
    if summary["accuracy"] is None:
        return ""
    low, high = summary["accuracy_ci"]
    return f"{summary['accuracy']:.1%}<small>{low:.1%} to {high:.1%}</small>"


def _setup(record: Record) -> dict[str, object]:
    sampling = record["sampling"]
    drawn = "greedy" if not sampling["temperature"] else ", ".join(f"{key} {value}" for key, value in sampling.items())
    facts: dict[str, object] = {
        **page.methods(record["methods"]), "sampling": drawn, "most new tokens": record["max_tokens"],
    }  # fmt: skip
    if promise := record["promise"]:
        facts |= {"data": promise["data"], "model": promise["model"]}
    return facts
