"""A meeting of peers as one self-contained HTML page, and the words that the terminal shares with it."""

from __future__ import annotations

from html import escape
from typing import Any

from laconic.bench import page

Record = dict[str, Any]

LABELS = {
    "baseline": "laconic, plain", "speculation": "laconic, speculating", "laconic": "laconic, default",
    "transformers": "generate", "transformers-assisted": "generate, assisted",
    "transformers-prompt-lookup": "generate, lookup", "vllm": "vLLM", "vllm-ngram": "vLLM, n-gram",
    "vllm-suffix": "vLLM, suffix", "llama.cpp": "llama.cpp", "llama.cpp-prompt-lookup": "llama.cpp, lookup",
}  # fmt: skip
COLUMNS = ("variant", "right", "tokens", "tokens/pass", "tokens/second", "time", "same tokens")


def render(record: Record) -> str:
    """The page. ``record`` is what ``Meeting.run`` returns, or the same read back from its JSON file."""
    page.plots_available()
    setup, n = record["setup"], record["variants"]["baseline"]["n"]
    title = f"laconic and its peers on {n} problems"
    how = "greedy" if setup["sampling"]["temperature"] == 0 else f"temperature {setup['sampling']['temperature']:g}"
    head = (
        f"<h1>{escape(title)}</h1>\n<p class='lead'>Model <b>{escape(setup['model'])}</b>, {escape(setup['dtype'])}, "
        f"{how}, one request at a time.<br>Same prompts, same end tokens, one counter; all ran on each problem, back "
        "to back, in rotating order.</p>"
    )
    tiles = page.tiles([_tile(line) for line in record["standing"]])
    return page.document(title, head, warnings(record), tiles, _table(record), _plots(record), _origin(record))


def warnings(record: Record) -> str:
    """Who is missing, and what went wrong."""
    said = [f"{LABELS[name]} is not here: {why}" for name, why in record["skipped"].items()]
    return page.notes(said + page.incidents(record), "warning")


def in_words(line: Record) -> str:
    """One line of the standing as a sentence without its full stop."""
    low, high = line["median_ci"]
    return (
        f"{LABELS[line['ours']]}, against the fastest peer {line['among']} ({LABELS[line['peer']]}): "
        f"{line['ratio']:.2f} times as fast by {line['by']} (median problem {line['median']:.2f}, {low:.2f} to "
        f"{high:.2f})"
    )


def cells(record: Record, name: str) -> tuple[str, ...]:
    """A variant's row, as :data:`COLUMNS` has it; rates and times are over those of our plain decoding."""
    block, plain = record["variants"][name], record["variants"]["baseline"]
    same = record["same_tokens"].get(name)
    return (
        LABELS[name],
        f"{block['accuracy']:.0%}" if block["accuracy"] is not None else "-",
        f"{_tokens(block) / block['n']:.0f}",
        f"{block['tokens_per_pass']:.2f}",
        f"{_rate(block) / _rate(plain):.2f}",
        f"{block['seconds'] / plain['seconds']:.2f}",
        f"{same['identical']}/{same['prompts']}" if same else "-",
    )


def _tile(line: Record) -> tuple[str, str, str]:
    low, high = line["median_ci"]
    middle = f"Median problem {line['median']:.2f} ({low:.2f} to {high:.2f})."
    note = f"By {line['by']}; the peer is {LABELS[line['peer']]}. {middle}"
    what = f"{LABELS[line['ours']]}, over the fastest peer {line['among']}"
    return f"{line['ratio']:.2f}×", escape(what), escape(note)


def _table(record: Record) -> str:
    rows = [
        (name if name == "laconic" else "", [escape(cell) for cell in cells(record, name)])
        for name in record["variants"]
    ]
    said = (
        "Tokens per problem; tokens a second and time per problem relative to our plain decoding. Same tokens: on how "
        "many problems a variant wrote exactly what our plain decoding wrote; in half precision other orders of "
        "summation decide near ties otherwise"
    )
    return f"<h2>Variants</h2>\n{page.table(COLUMNS, rows)}{page.notes([said])}"


def _plots(record: Record) -> str:
    from matplotlib.axes import Axes

    from laconic.bench.figure import COLOUR, svg

    names = list(record["variants"])[::-1]
    plain = record["variants"]["baseline"]

    def bars(axes: Axes, values: list[float], label: str) -> None:
        colours = [
            COLOUR["laconic" if name in ("baseline", "speculation", "laconic") else "baseline"] for name in names
        ]
        axes.barh(range(len(names)), values, height=0.55, color=colours)
        for at, value in enumerate(values):
            axes.annotate(f" {value:.2f}", (value, at), va="center", color=COLOUR["muted"], fontsize=10.5)
        axes.set_yticks(range(len(names)), [LABELS[name] for name in names])
        axes.grid(axis="y", visible=False)
        axes.margins(x=0.12)
        axes.set(xlabel=label)

    height = 1.0 + 0.36 * len(names)
    rates = [_rate(record["variants"][name]) / _rate(plain) for name in names]
    times = [record["variants"][name]["seconds"] / plain["seconds"] for name in names]
    return "<h2>Speed</h2>\n<div class='plots'>\n" + "\n".join(
        (
            page.figure("Tokens a second", "More is better.",
                        svg(lambda axes: bars(axes, rates, "our plain decoding: 1"), "Tokens a second", height)),
            page.figure("Time per problem", "Less is better.",
                        svg(lambda axes: bars(axes, times, "our plain decoding: 1"), "Time per problem", height)),
        )
    ) + "\n</div>"  # fmt: skip


def _origin(record: Record) -> str:
    setup = record["setup"]
    facts = page.methods(setup) | {"at most": f"{setup['max_new_tokens']} tokens a reply"}
    facts["peers' versions"] = ", ".join(f"{name} {version}" for name, version in record["versions"].items()) or "-"
    return page.provenance(record["provenance"], facts)


def _rate(block: Record) -> float:
    return _tokens(block) / float(block["seconds"])


def _tokens(block: Record) -> int:
    return int(block["thinking_tokens"] + block["answer_tokens"])
