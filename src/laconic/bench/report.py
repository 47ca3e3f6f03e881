"""A comparison's record as one self-contained HTML page."""

from __future__ import annotations

from html import escape
from typing import Any

from laconic.bench import page
from laconic.bench.cost import elsewhere
from laconic.bench.oracle.words import in_words
from laconic.bench.record import in_words as learned_in_words

Record = dict[str, Any]


def render(record: Record) -> str:
    """The page. ``record`` is what ``Bench.run`` returns, or the same read back from its JSON file."""
    page.plots_available()
    title = f"laconic on {record['baseline']['n']} problems"
    return page.document(
        title, _head(record, title), _warnings(record), _tiles(record), _table(record), _plots(record),
        _example(record), _provenance(record),
    )  # fmt: skip


def _head(record: Record, title: str) -> str:
    setup = record["setup"]
    kinds = ", ".join(kind.replace("_", " ") for kind in record["by_kind"])
    how = "greedy" if setup["sampling"]["temperature"] == 0 else f"temperature {setup['sampling']['temperature']:g}"
    return (
        f"<h1>{escape(title)}</h1>\n<p class='lead'>Model <b>{escape(setup['model'])}</b>, {how}, "
        f"{_batch(setup['batch'])}. Tasks: {escape(kinds)}.<br>All variants ran on the same problems, back to back, in "
        "rotating order.</p>"
    )


def _batch(batch: int) -> str:
    return "one request at a time" if batch == 1 else f"{batch} requests at once"


def _warnings(record: Record) -> str:
    said = page.incidents(record)
    cut = record["baseline"]["cut_off"], record["laconic"]["cut_off"]
    if any(cut):
        said.append(
            f"Replies cut off at {record['setup']['max_new_tokens']} tokens or at the model's context: plain decoding "
            f"{cut[0]}, laconic {cut[1]}."
        )
    return page.notes(said, "warning")


def _tiles(record: Record) -> str:
    ratio, plain, ours = record["ratio"], record["baseline"], record["laconic"]
    tiles = [_less(ratio["thinking_tokens"], ratio["thinking_tokens_ci"], "thinking tokens"), _speed(record)]
    if ours["accuracy"] is not None:
        note = (
            f"95 % CI {_interval(ours['accuracy_ci'])}. Plain decoding: {plain['accuracy']:.1%} "
            f"({_interval(plain['accuracy_ci'])}). {record['paired']['lost']} lost, {record['paired']['won']} won."
        )
        tiles.append((f"{ours['accuracy']:.1%}", "right answers", note))
    tiles.append(_exact(record))
    return page.tiles(tiles)


def _less(share: float | None, interval: list[float] | None, what: str) -> tuple[str, str, str]:
    if share is None:
        return "-", what, "Plain decoding wrote none."
    word = "fewer" if share <= 1 else "more"
    spread = [abs(1 - bound) for bound in interval or ()]
    note = f"95 % CI {min(spread):.0%} to {max(spread):.0%}, bootstrap over problems." if spread else ""
    return f"{abs(1 - share):.0%}", f"{word} {what}", note


def _speed(record: Record) -> tuple[str, str, str]:
    ratio = record["ratio"]
    low, high = (1 / bound for bound in reversed(ratio["seconds_ci"]))
    note = f"Median of {'pairs' if record['setup']['batch'] == 1 else 'blocks'}, 95 % CI {low:.2f} to {high:.2f}."
    if "transformers" in record["ratios"]:
        note += f" Against transformers generate: {1 / record['ratios']['transformers']['seconds']:.2f}×."
    faster = 1 / ratio["seconds"]
    shown = f"{faster:.2f}×" if faster < 10 else f"{faster:.0f}×"
    return shown, "as fast as plain decoding", note


def _exact(record: Record) -> tuple[str, str, str]:
    exact = record["exact"]
    if exact is None:
        same = record["sampled"]
        return (
            "sampled",
            "same distribution, other draws",
            f"{same['identical']} of {same['prompts']} happen to be identical.",
        )
    wording = {
        "baseline": "drafting changed no token",
        "control": "nor did it under thinking control, probes included",
    }
    notes = [f"{wording[check['of'][1]]}: {check['identical']} of {check['prompts']}" for check in exact["checks"]]
    return f"{exact['identical']}/{exact['prompts']}", "prompts exact", escape("; ".join(notes).capitalize() + ".")


def _interval(bounds: list[float]) -> str:
    return f"{bounds[0]:.1%} to {bounds[1]:.1%}"


def _table(record: Record) -> str:
    columns = ("", "right answers", "thinking<br>tokens", "answer<br>tokens", "target<br>passes", "tokens<br>per pass",
               "drafts<br>accepted", "seconds<br>per problem", "time against<br>plain decoding")  # fmt: skip
    rows = []
    for name, label in record["setup"]["variants"].items():
        block, mean = record[name], record[name]["mean"]
        accepted = f"{block['acceptance_rate']:.0%}" if block["acceptance_rate"] is not None else "-"
        cells = (
            f"<span class='dot' style='background: var(--{name})'></span>{escape(label)}",
            _accuracy(block),
            f"{mean['thinking_tokens']:.1f}", f"{mean['answer_tokens']:.1f}", f"{mean['target_passes']:.1f}",
            f"{block['tokens_per_pass']:.2f}", accepted, f"{mean['seconds']:.3f}",
            f"{block['seconds'] / record['baseline']['seconds']:.2f}",
        )  # fmt: skip
        rows.append((name, cells))
    notes = [
        "Means per problem. Seconds are those of this machine and mean nothing elsewhere; their ratios do.",
        f"Verification, controllers and drafting cost {record['overhead']['share']:.1%} of the models' own time.",
    ]
    if record["agreement"]:
        same = record["agreement"]
        notes.append(
            f"Plain decoding and transformers generate wrote the same tokens on {same['identical']} of "
            f"{same['prompts']} prompts."
        )
    if "control" in record["setup"]["variants"]:
        notes.append("Control alone makes each probe in a pass of its own, as published; laconic lets it ride along.")
    notes += [f"Oracle: {sentence}." for sentence in in_words(record.get("oracle"))]
    for name, reports in record.get("learned", {}).items():
        notes += [f"Learned by {name}, {line}." for line in learned_in_words(reports)]
    notes += [page.sentence(text) for text in elsewhere.in_words(record.get("predicted"))]
    return f"<h2>Variants</h2>\n{page.table(columns, rows)}<p class='note'>{escape(' '.join(notes))}</p>"


def _accuracy(block: Record) -> str:
    if block["accuracy"] is None:
        return "-"
    return f"{block['accuracy']:.1%}<small>{_interval(block['accuracy_ci'])}</small>"


def _plots(record: Record) -> str:
    from laconic.bench import charts

    drafts = record["laconic"]["acceptance_rate"] is not None
    plots = [
        ("Thinking, problem by problem", "Each point is one problem; below the line is saved.", charts.thinking),
        ("Time, problem by problem", "Each point is one problem, the bar is the median.", charts.times),
        ("Thinking by task", "", charts.tokens_by_task),
    ]
    if record["baseline"]["accuracy"] is not None:
        plots.append(("Accuracy by task", "", charts.accuracy))
    if drafts:
        plots.append(("Tokens per target pass", "Mean of each problem.", charts.tokens_per_pass))
    plots.append(("Where the time goes", "The decode loop, phase by phase.", charts.phases))
    figures = (page.figure(name, caption, draw(record)) for name, caption, draw in plots)
    return "<h2>Where it comes from</h2>\n<div class='plots'>\n" + "\n".join(figures) + "\n</div>"


def _example(record: Record) -> str:
    shown = record["example"]
    if shown is None:
        return ""
    counts = shown["thinking_tokens"]
    reasons = "; ".join(shown["why"])
    return (
        "<h2>One thought</h2>\n<div class='example'>\n"
        f"<p><b>{escape(shown['question'])}</b></p>\n"
        f"<p class='note'>Plain decoding thought for {counts['baseline']} tokens, laconic for {counts['laconic']}"
        f"{': ' + escape(reasons) if reasons else ''}. Grey is what was not needed.</p>\n"
        f"<div class='thought'><mark>{escape(shown['kept'])}</mark><ins>{escape(shown['added'])}</ins>"
        f"<del>{escape(shown['dropped'])}</del></div>\n"
        f"<p><b>{escape(shown['answer'])}</b></p>\n"
        "<p class='note'>Chosen for its saving, the nearest to the median of those that both got right.</p>\n</div>"
    )


def _provenance(record: Record) -> str:
    setup = record["setup"]
    facts = page.methods(setup) | {"at most": f"{setup['max_new_tokens']} tokens a reply"}
    return page.provenance(record["provenance"], facts)
