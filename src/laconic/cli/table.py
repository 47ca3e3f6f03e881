"""Progress and result of ``laconic compare`` on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from laconic.bench.cost import elsewhere
from laconic.bench.oracle.words import in_words
from laconic.bench.record import in_words as learned_in_words

if TYPE_CHECKING:
    from laconic.bench.measure import Trial

After = Callable[["list[Trial]", int], None]


@contextmanager
def progress(total: int) -> Iterator[After]:
    """A progress bar on standard error, with the accuracies so far; gives the function that moves it on."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[right]}"),
        console=Console(stderr=True),
    )
    task = bar.add_task("comparing", total=total, right="")
    judged = 0
    right: dict[str, int] = {}

    def after(trials: list[Trial], count: int) -> None:
        nonlocal judged
        for trial in trials:
            judged += any(good is not None for good in trial.right.values())
            for name, good in trial.right.items():
                right[name] = right.get(name, 0) + bool(good)
        shown = ", ".join(f"{name} {right[name] / judged:.0%}" for name in ("baseline", "laconic") if judged)
        bar.update(task, advance=count, right=f"right: {shown}" if shown else "")

    with bar:
        yield after


def overview(record: dict[str, Any]) -> None:
    """The table of variants and the sentences below it, on standard output."""
    console = Console(highlight=False)
    names = record["setup"]["variants"]
    table = Table(
        title=_title(record), title_justify="left", box=SIMPLE, padding=(0, 1), collapse_padding=True, pad_edge=False
    )
    table.add_column("variant", no_wrap=True)
    for column in ("right\n(95 % CI)", "think", "answer", "passes", "tokens\n/pass", "time"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, label in names.items():
        table.add_row(label.removesuffix(" generate"), *_row(record, name), style="bold" if name == "laconic" else "")
    console.print(table)
    for sentence in sentences(record):
        console.print(sentence, soft_wrap=not console.is_terminal)


def _row(record: dict[str, Any], name: str) -> tuple[str, ...]:
    s = record[name]
    mean = s["mean"]
    low, high = s["accuracy_ci"] or (0.0, 0.0)
    return (
        f"{s['accuracy']:.1%} ({low:.0%}-{high:.0%})" if s["accuracy"] is not None else "-",
        f"{mean['thinking_tokens']:.1f}",
        f"{mean['answer_tokens']:.1f}",
        f"{mean['target_passes']:.1f}",
        f"{s['tokens_per_pass']:.2f}",
        f"{s['seconds'] / record['baseline']['seconds']:.2f}",
    )


def _title(record: dict[str, Any]) -> str:
    setup = record["setup"]
    think = "+".join(setup["think"]) or "none"
    specs = [*dict.fromkeys((setup["drafter"], setup["length"], setup["shape"], think))]
    return f"{record['baseline']['n']} problems, {setup['model']}: {', '.join(specs)}"


def sentences(record: dict[str, Any]) -> list[str]:
    """What the table does not say: ratios with intervals, exactness, overhead, failures."""
    ratio, paired = record["ratio"], record["paired"]
    low, high = ratio["seconds_ci"]
    said = [
        "thinking and answer tokens and target passes per problem; time in total, relative to plain decoding",
        f"laconic / plain: {_percent(ratio['thinking_tokens'])} of the thinking tokens, "
        f"{_percent(ratio['target_passes'])} of the target passes, "
        f"{_percent(ratio['seconds'])} of the time (median of pairs; 95 % CI {_percent(low)}-{_percent(high)})",
    ]
    if record["baseline"]["accuracy"] is not None:
        said.append(
            f"answers: {paired['both']} right under both, {paired['lost']} lost, {paired['won']} won, "
            f"{paired['neither']} wrong under both"
        )
    for check in (record["exact"] or {"checks": []})["checks"]:
        one, other = check["of"]
        said.append(
            f"exact: {one} wrote the same tokens as {other} on {check['identical']} of {check['prompts']} prompts"
        )
    if record["sampled"]:
        said.append(f"sampled: {record['sampled']['identical']} of {record['sampled']['prompts']} identical. "
                    f"{record['sampled']['note']}")  # fmt: skip
    if record["agreement"]:
        said.append(f"plain decoding wrote the same tokens as transformers generate on "
                    f"{record['agreement']['identical']} of {record['agreement']['prompts']} prompts")  # fmt: skip
    said += [f"oracle: {sentence}" for sentence in in_words(record["oracle"])]
    said += elsewhere.in_words(record["predicted"])
    said.append(
        f"overhead of verification, controllers and drafting: {record['overhead']['share']:.1%} of the passes' time"
    )
    for name, reports in record.get("learned", {}).items():
        said += [f"learned by {name}, {line}" for line in learned_in_words(reports)]
    said += [f"FAILED, left out of every number: {', '.join(f['items'])} ({f['variant']}: {f['error']})"
             for f in record["failures"]]  # fmt: skip
    if record["interrupted"]:
        said.append("interrupted: these are the problems that were complete")
    return said


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"
