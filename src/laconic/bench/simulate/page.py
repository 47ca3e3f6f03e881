"""A simulation's record as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from laconic.bench import page
from laconic.bench.figure import COLOUR, legend, svg
from laconic.bench.simulate.wording import COLUMNS, about, cells, title

Record = dict[str, Any]

_COLOURS = ("laconic", "speculation", "control", "transformers", "bad", "ink")
_UNITS = {"closed": "clients that each wait for their answer", "poisson": "requests a second",
          "trace": "times as fast as recorded"}  # fmt: skip


def render(record: Record) -> str:
    """The page. ``record`` is what ``simulate`` returns, or the same read back from its JSON file."""
    said = about(record)
    loud = [text for text in said if text.startswith(("LEFT OUT", "REFUSED"))]
    head = (
        f"<h1>Speculation under load, simulated</h1>\n<p class='lead'>{escape(page.sentence(title(record)))}</p>\n"
        + page.notes(loud, "warning")
    )
    setup = {name: value for name, value in record["setup"].items() if name not in ("host", "policies")}
    return page.document(
        "laconic simulate",
        head,
        _plots(record),
        "<h2>Every policy under every load</h2>",
        _table(record),
        page.notes([text for text in said if text not in loud]),
        f"<h2>What the columns say</h2>\n{page.listed(COLUMNS)}",
        page.provenance(record["provenance"], setup),
    )


def _table(record: Record) -> str:
    rows = []
    for point in record["loads"]:
        runs = point["policies"]
        best = max(runs, key=lambda name: runs[name]["goodput"])
        for name, run in runs.items():
            named = (escape(point["load"]), escape(name), *cells(run, runs.get("none")))
            rows.append(("laconic" if name == best else "", named))
    return page.table(["load", "policy", *COLUMNS], rows)


def _plots(record: Record) -> str:
    points = record["loads"]
    unit = _UNITS[points[0]["kind"]]
    drawn = []
    if len(points) > 1:
        goodput = [{name: run["goodput"] for name, run in p["policies"].items()} for p in points]
        drawn.append(
            page.figure("Tokens a second", f"over load: {unit}", _over_load(record, goodput, "tokens a second", unit))
        )
        latency = [
            {name: (run["latency"] or {}).get("p95", 0.0) for name, run in p["policies"].items()} for p in points
        ]
        drawn.append(
            page.figure("Latency", "95 % of the requests are done in this time",
                        _over_load(record, latency, "seconds", unit))
        )  # fmt: skip
    last = points[-1]
    caption = f"under {last['load']}, in forty slices of each run's time"
    drawn.append(page.figure("Tokens a second over time", caption, _over_time(last, "goodput", "tokens a second")))
    drawn.append(page.figure("Requests at work over time", caption, _over_time(last, "active", "requests in a round")))
    return "<div class='plots'>\n" + "\n".join(drawn) + "\n</div>"


def _styles(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """A colour for each policy, plain decoding grey and dashed; beyond six, colours come again with other dashes."""
    drafting = [name for name in names if name != "none"]
    dashes = ((None, None), (1, 1), (4, 2))
    made: dict[str, dict[str, Any]] = {"none": {"color": COLOUR["baseline"], "dashes": (4, 3)}}
    for i, name in enumerate(reversed(drafting)):
        made[name] = {"color": COLOUR[_COLOURS[i % len(_COLOURS)]], "dashes": dashes[i // len(_COLOURS) % len(dashes)]}
    return made


def _over_load(record: Record, values: Sequence[dict[str, float]], label: str, unit: str) -> str:
    loads = [point["value"] for point in record["loads"]]
    names = list(values[0])

    def draw(axes: Axes) -> None:
        for name, style in _styles(names).items():
            if name in names:
                axes.plot(loads, [point[name] for point in values], marker="o", markersize=4, label=name, **style)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(loads))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels([f"{load:g}" for load in loads])
        axes.set(xlabel=unit, ylabel=label, ylim=(0, None))
        legend(axes, 3)

    return svg(draw, f"{label} over load", 4.0)


def _over_time(point: Record, key: str, label: str) -> str:
    names = list(point["policies"])

    def draw(axes: Axes) -> None:
        for name, style in _styles(names).items():
            if name in names:
                slices = point["policies"][name]["over_time"]
                axes.plot([s["at"] for s in slices], [s[key] for s in slices], linewidth=1.4, label=name, **style)
        axes.set(xlabel="seconds", ylabel=label, ylim=(0, None))
        legend(axes, 3)

    return svg(draw, f"{label} over time", 4.0)
