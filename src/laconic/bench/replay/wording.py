"""A replay's record in words, for the terminal and the page alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Record = dict[str, Any]

COLUMNS: tuple[tuple[str, str], ...] = (
    ("passes", "Target passes: one a round, at least one a turn."),
    ("tokens / pass", "Written tokens per target pass, the bonus token included; plain decoding has 1."),
    ("kept", "Accepted share of the drafted tokens."),
    ("waste / token", "Drafted and refused, per written token."),
    ("us / token", "Processor time of the drafter, start and given text included, per written token."),
    ("1,000 / second", "Thousand tokens, given and written, per second of processor time of the whole replay."),
)
_NAMED = 3
"""Left-out lines named one by one; the JSON holds all."""


def cells(row: Record) -> tuple[str, ...]:
    """The figures of one drafter under one length rule, in the order of COLUMNS."""
    rate = row["acceptance_rate"]
    return (
        f"{row['passes']:,}",
        f"{row['tokens_per_pass']:.2f}",
        "-" if rate is None else f"{rate:.0%}",
        f"{row['waste_per_token']:.2f}",
        f"{row['drafting_us_per_token']:.1f}",
        f"{row['tokens_per_second'] / 1000:,.0f}",
    )


def title(file: Record) -> str:
    """What a file holds."""
    return (
        f"{file['path']}: {_count(file['records'], 'record')}, {_count(file['turns'], 'turn')}, "
        f"{file['output_tokens']:,} tokens written, {file['given_tokens']:,} given"
    )


def about(file: Record) -> list[str]:
    """Sentences below a file's table: warm-up, thoughts, and what was left out."""
    said = warm_up(file)
    if file["thoughts"] is not None:
        said += [f"thoughts: {sentence}" for sentence in thoughts(file["thoughts"])]
    else:
        said.append("thoughts: no record has one")
    said += left_out(file["left_out"])
    if file["empty_lines"]:
        said.append(f"empty lines passed over: {file['empty_lines']}")
    return said


def left_out(problems: Sequence[Record], source: str = "") -> list[str]:
    """One sentence about the lines that could not be used, the first few by name; none where all could."""
    if not problems:
        return []
    named = "; ".join(f"line {problem['line']}: {problem['reason']}" for problem in problems[:_NAMED])
    more = f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
    return [f"LEFT OUT {source}{len(problems)}: {named}{more}"]


def warm_up(file: Record) -> list[str]:
    """How the best variant fared by quarters of the file and of each record's own output."""
    best = max(file["drafts"], key=lambda row: row["tokens_per_pass"])
    return [
        f"{best['drafter']}, {best['length']}: tokens per pass by quarter of the file {_row(best['by_request'])}; "
        f"of a record's own output {_row(best['by_place'])}"
    ]


def thoughts(t: Record) -> list[str]:
    """What an exit could save at most, in sentences."""
    said = [f"{t['n']} with a median of {_median(t['tokens'])} tokens in {_median(t['steps'])} steps"]
    if t["right"]["n"]:
        said[0] += f"; final answer right in {_share(t['right'])}"
    for name, how in (("concluded", "the final answer as a conclusion"), ("stated", "it as a result at all")):
        block = t[name]
        if block["n"]:
            after = block["after"]
            said.append(
                f"{how.replace('it ', 'the final answer ') if name == 'stated' else how}: in {_share(block)}; "
                f"tokens after the first such step {after['share']:.0%}{_ci(after['ci'])}, "
                f"per thought {_median(after['per_thought'], percent=True)}"
            )
    if t["restated"]["n"]:
        said.append(
            f"concluded again in {_share(t['restated'])}, in {_median(t['restatements'])} later steps at the median"
        )
    cues = ", ".join(f"{name} {rate:.1f}" for name, rate in t["cues_per_1000"].items())
    said.append(f"cue words per 1,000 tokens: {cues}")
    said.append(
        f"repeated word for word (runs of 16 tokens) {t['repeated_share']['share']:.1%}; "
        f"a step three times or more in {_share(t['with_loops'])}"
    )
    missing = (
        ("without_thought", "no thought"),
        ("unfinished", "thought cut off before its end"),
        ("without_answer", "no final answer that could be looked for"),
        (
            "never_stated",
            "final answer never stated in the thought",
        ),
    )
    for key, what in missing:
        if t[key]:
            more = ", ..." if len(t[key]) > _NAMED else ""
            said.append(f"{what}: {len(t[key])} ({', '.join(t[key][:_NAMED])}{more})")
    return said


def notes(record: Record) -> list[str]:
    """What holds for all files."""
    said = ["every decoded text was the recorded one, token for token"]
    if record["setup"]["approximate"]:
        said.append(
            "token counts are approximate: a built-in splitter stands in for the tokenizer (name one with --tokenizer)"
        )
    said.append("times are processor time on this machine; a turn's end counts as one written token")
    return said


def _row(values: Sequence[float | None]) -> str:
    return " ".join("-" if value is None else f"{value:.2f}" for value in values)


def _share(block: Record) -> str:
    return f"{round(block['share'] * block['n'])} of {block['n']} ({block['share']:.0%}{_ci(block['ci'])})"


def _ci(bounds: Sequence[float] | None) -> str:
    return f", 95 % CI {bounds[0]:.0%} to {bounds[1]:.0%}" if bounds else ""


def _median(block: Record | None, *, percent: bool = False) -> str:
    if block is None:
        return "-"
    form: Callable[[float], str] = (lambda v: f"{v:.0%}") if percent else (lambda v: f"{v:,.0f}")
    low, high = block["quartiles"]
    return f"{form(block['median'])} (quartiles {form(low)} to {form(high)})"


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"
