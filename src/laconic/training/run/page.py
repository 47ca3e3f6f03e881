"""A run's log as one self-contained HTML page: accuracy and length over the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from matplotlib.axes import Axes

from laconic.bench import page
from laconic.bench.figure import COLOUR, legend, svg
from laconic.training.run.recipe import flat

Row = Mapping[str, Any]

_SMOOTH = 5
"""Steps over which the rollouts' numbers are averaged: those of one step are of a few problems."""


def render(rows: Sequence[Row], recipe: Mapping[str, Any]) -> str:
    """The page. ``rows`` are the log's, ``recipe`` is the whole recipe."""
    steps = [row for row in rows if "step" in row]
    known = [row for row in rows if "evaluation" in row]
    notes = [f"step {row['at']}: {row['note']}" for row in rows if "note" in row]
    objective = next((name for name in ("sft", "dpo") if recipe.get(name)), "reward")
    what = recipe["reward"] if objective == "reward" else objective.upper()
    said = {key: value for key, value in flat(recipe).items() if value not in ("null", '""')}
    return page.document(
        "laconic train",
        f"<h1>Training {escape(str(recipe['model']))} by {escape(str(what))}</h1>\n{page.notes(notes, 'warning')}",
        "<div class='plots'>\n" + "\n".join(_plots(steps, known)) + "\n</div>",
        *([f"<h2>Held-out problems</h2>\n{_table(known)}"] if known else []),
        f"<h2>Recipe</h2>\n{page.listed(said)}",
    )


def _plots(steps: Sequence[Row], known: Sequence[Row]) -> list[str]:
    drawn = []
    if known or any("right" in row for row in steps):
        told = "of the rollouts, five steps averaged, and of the held-out problems"
        right = f"share {told} with 95 % intervals"
        drawn.append(page.figure("Right answers", right, _over_steps(steps, known, "right", top=1.02)))
        drawn.append(page.figure("Thinking", f"tokens a thought, {told}", _over_steps(steps, known, "thinking")))
    if any("formatted" in row for row in steps):
        drawn.append(page.figure("What goes wrong", "shares of the rollouts, five steps averaged", _wrong(steps)))
    if any("loss" in row for row in steps):
        drawn.append(page.figure("Loss", "each step", _loss(steps)))
    return drawn


def _over_steps(steps: Sequence[Row], known: Sequence[Row], key: str, top: float | None = None) -> str:
    def draw(axes: Axes) -> None:
        _line(axes, steps, key, "rollouts", "baseline")
        if known:
            at, values = [row["evaluation"] for row in known], [row[key] for row in known]
            low, high = zip(*(row["interval"] for row in known), strict=True)
            right = [row["right"] for row in known]
            off = [
                [max(value - end, 0.0) for value, end in zip(right, low, strict=True)],
                [max(end - value, 0.0) for value, end in zip(right, high, strict=True)],
            ]
            axes.errorbar(at, values, yerr=off if key == "right" else None, marker="o", markersize=4, capsize=3,
                          color=COLOUR["laconic"], label="held-out problems")  # fmt: skip
        axes.set(xlabel="step", ylim=(0, top))
        legend(axes)

    return svg(draw, f"{key} over steps")


def _wrong(steps: Sequence[Row]) -> str:
    def draw(axes: Axes) -> None:
        unread = [{**row, "unread": 1 - row["formatted"]} for row in steps if "formatted" in row]
        _line(axes, unread, "unread", "without a readable answer", "bad")
        _line(axes, steps, "truncated", "cut off", "control")
        _line(axes, steps, "right_discouraged", "right and made less likely", "speculation")
        axes.set(xlabel="step", ylim=(0, 1.02))
        legend(axes)

    return svg(draw, "faults over steps")


def _loss(steps: Sequence[Row]) -> str:
    def draw(axes: Axes) -> None:
        rows = [row for row in steps if row.get("loss") is not None]
        axes.plot([row["step"] for row in rows], [row["loss"] for row in rows], linewidth=1.2, color=COLOUR["ink"])
        axes.set(xlabel="step")

    return svg(draw, "loss over steps")


def _line(axes: Axes, rows: Sequence[Row], key: str, label: str, colour: str) -> None:
    """A number of the steps, averaged over the last few; steps without one are passed over."""
    there = [(row["step"], float(row[key])) for row in rows if row.get(key) is not None]
    if not there:
        return
    values = [value for _, value in there]
    parts = [values[max(at + 1 - _SMOOTH, 0) : at + 1] for at in range(len(values))]
    smooth = [sum(part) / len(part) for part in parts]
    axes.plot([step for step, _ in there], smooth, linewidth=1.6, label=label, color=COLOUR[colour])


def _table(known: Sequence[Row]) -> str:
    columns = ["step", "problems", "right (95 %)", "thinking tokens", "tokens in all"]
    rows = []
    for row in known:
        low, high = row["interval"]
        right = f"{row['right']:.1%} ({low:.0%} to {high:.0%})"
        rows.append(
            ("", [str(row["evaluation"]), str(row["n"]), right, f"{row['thinking']:.0f}", f"{row['tokens']:.0f}"])
        )
    return page.table(columns, rows)
