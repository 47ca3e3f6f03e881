"""The plots of a comparison's report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

from laconic.bench.figure import COLOUR, legend, svg

Record = dict[str, Any]


def thinking(record: Record) -> str:
    """Thinking tokens of each problem: plain decoding across, laconic upwards; below the diagonal is saved."""

    def draw(axes: Axes) -> None:
        pairs = [tuple(max(1.0, count) for count in _pair(item, "thinking_tokens")) for item in record["items"]]
        axes.set(xscale="log", yscale="log")  # a few long thoughts would press all others into a corner
        low, high = 0.8 * min(map(min, pairs)), 1.25 * max(map(max, pairs))
        axes.plot([low, high], [low, high], color=COLOUR["muted"], linewidth=1, dashes=(4, 3))
        lost = [
            item["variants"]["baseline"]["right"] is True and item["variants"]["laconic"]["right"] is False
            for item in record["items"]
        ]
        for wanted, colour, name in ((False, "laconic", ""), (True, "bad", "right answer lost")):
            chosen = [pair for pair, is_lost in zip(pairs, lost, strict=True) if is_lost is wanted]
            if chosen:
                across, up = zip(*chosen, strict=True)
                axes.scatter(across, up, s=18, alpha=0.65, linewidths=0, color=COLOUR[colour], label=name)
        if any(lost):
            axes.legend(loc="upper left", handletextpad=0.1)
        axes.set(xlim=(low, high), ylim=(low, high))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(ScalarFormatter())
            axis.set_minor_locator(NullLocator())
        axes.set(xlabel="thinking tokens, plain decoding (dashed: as many)", ylabel="laconic")

    return svg(draw, "Thinking tokens per problem", 4.2)


def tokens_per_pass(record: Record) -> str:
    """How many tokens a target pass yields, problem by problem, for the variants that draft."""
    names = [name for name in ("speculation", "laconic") if name in record["setup"]["variants"]]

    def draw(axes: Axes) -> None:
        values = {name: [_per_pass(item["variants"][name]) for item in record["items"]] for name in names}
        top = max(2.0, *(max(column) for column in values.values()))
        edges = [1 + (top - 1) * i / 24 for i in range(25)]
        for name in names:
            label = record["setup"]["variants"][name]
            style: dict[str, Any] = (
                {"histtype": "stepfilled", "alpha": 0.35}
                if name == "laconic"
                else {"histtype": "step", "linewidth": 1.6}
            )
            axes.hist(values[name], bins=edges, color=COLOUR[name], label=label, **style)
        axes.axvline(1, color=COLOUR["muted"], linewidth=1, dashes=(4, 3))
        legend(axes)
        axes.grid(axis="x", visible=False)
        axes.set(xlabel="tokens per target pass (plain decoding: 1)", ylabel="problems")

    return svg(draw, "Tokens per pass")


def times(record: Record) -> str:
    """Time of each problem relative to plain decoding of the same problem, by variant; the tick is the median."""
    names = [name for name in record["setup"]["variants"] if name != "baseline"][::-1]

    def draw(axes: Axes) -> None:
        for at, name in enumerate(names):
            ratios = sorted(_over(*_pair(item, "seconds", name)) for item in record["items"])
            spread = [at + 0.28 * ((i * 0.618) % 1 - 0.5) for i in range(len(ratios))]
            axes.scatter(ratios, spread, s=9, alpha=0.4, linewidths=0, color=COLOUR[name])
            middle = ratios[len(ratios) // 2]
            axes.vlines(middle, at - 0.3, at + 0.3, color=COLOUR[name], linewidth=3)
            axes.annotate(f"{middle:.2f}", (middle, at + 0.32), ha="center", va="bottom", color=COLOUR["ink"])
        axes.axvline(1, color=COLOUR["muted"], linewidth=1, dashes=(4, 3))
        axes.set_yticks(range(len(names)), [record["setup"]["variants"][name] for name in names])
        axes.grid(axis="y", visible=False)
        highest = _quantile([_over(*_pair(item, "seconds", name)) for name in names for item in record["items"]], 0.98)
        axes.set(xlabel="time (plain decoding of the same problem: 1)", xlim=(0, 1.1 * max(highest, 1.1)))
        axes.set_ylim(-0.6, len(names) - 0.3)

    return svg(draw, "Time per problem", 1.2 + 0.62 * len(names))


def phases(record: Record) -> str:
    """Seconds by phase of laconic's own variants, per problem."""
    names = [name for name in record["setup"]["variants"] if name != "transformers"][::-1]
    colours = {
        "score": "laconic",
        "draft": "speculation",
        "verify": "control",
        "policy": "transformers",
        "prefill": "ink",
    }
    labels = {"score": "target passes", "draft": "drafting", "policy": "controllers"}

    def draw(axes: Axes) -> None:
        for at, name in enumerate(names):
            left = 0.0
            for phase, colour in colours.items():
                share = 1000 * record[name]["usage"]["seconds"][phase] / record[name]["n"]
                label = labels.get(phase, phase) if at == 0 else None
                axes.barh(at, share, left=left, height=0.5, color=COLOUR[colour], label=label)
                left += share
        axes.set_yticks(range(len(names)), [record["setup"]["variants"][name] for name in names])
        axes.grid(axis="y", visible=False)
        axes.set(xlabel="milliseconds per problem, on this machine")
        legend(axes, 3)

    return svg(draw, "Where the time goes", 1.6 + 0.5 * len(names))


def accuracy(record: Record) -> str:
    """Accuracy by task with 95 % intervals, plain decoding and laconic."""

    def draw(axes: Axes) -> None:
        for at, (_, blocks) in enumerate(_kinds(record)):
            for name, shift in (("baseline", 0.14), ("laconic", -0.14)):
                if blocks[name]["accuracy"] is None:
                    continue
                share, (low, high) = blocks[name]["accuracy"], blocks[name]["accuracy_ci"]
                axes.plot([100 * low, 100 * high], [at + shift] * 2, color=COLOUR[name], linewidth=2.2, alpha=0.55)
                label = record["setup"]["variants"][name] if at == 0 else None
                axes.plot([100 * share], [at + shift], "o", color=COLOUR[name], markersize=6, label=label)
        _by_kind(axes, record)
        axes.set(xlabel="right answers, % (95 % interval)", xlim=(0, 102))

    return svg(draw, "Accuracy by task", _height(record))


def tokens_by_task(record: Record) -> str:
    """Mean thinking tokens by task, plain decoding and laconic."""

    def draw(axes: Axes) -> None:
        for at, (_, blocks) in enumerate(_kinds(record)):
            for name, shift in (("baseline", 0.18), ("laconic", -0.18)):
                mean = blocks[name]["mean"]["thinking_tokens"]
                label = record["setup"]["variants"][name] if at == 0 else None
                axes.barh(at + shift, mean, height=0.32, color=COLOUR[name], label=label)
                axes.annotate(f" {mean:.0f}", (mean, at + shift), va="center", color=COLOUR["muted"], fontsize=10.5)
        _by_kind(axes, record)
        axes.margins(x=0.1)
        axes.set(xlabel="thinking tokens per problem, mean")

    return svg(draw, "Thinking tokens by task", _height(record))


def _kinds(record: Record) -> Sequence[tuple[str, Record]]:
    return list(record["by_kind"].items())[::-1]


def _by_kind(axes: Axes, record: Record) -> None:
    axes.set_yticks(range(len(record["by_kind"])), [kind.replace("_", " ") for kind, _ in _kinds(record)])
    axes.grid(axis="y", visible=False)
    legend(axes)


def _height(record: Record) -> float:
    return 1.3 + 0.5 * len(record["by_kind"])


def _pair(item: Record, key: str, name: str = "laconic") -> tuple[float, float]:
    """A figure of one problem: plain decoding's and ``name``'s."""
    return float(item["variants"]["baseline"][key]), float(item["variants"][name][key])


def _over(plain: float, mine: float) -> float:
    return mine / plain if plain else 1.0


def _per_pass(variant: Record) -> float:
    chosen = variant["thinking_tokens"] + variant["answer_tokens"]
    return float(chosen / max(variant["target_passes"], 1))


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]
