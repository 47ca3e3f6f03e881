"""The table of ``laconic compare --scaling``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from laconic.bench.attempts.compare import Compared


@contextmanager
def progress(total: int) -> Iterator[Callable[[Compared], None]]:
    """A progress bar on standard error; gives the function that moves it on."""
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), console=Console(stderr=True),
    )  # fmt: skip
    task = bar.add_task("comparing", total=total)
    with bar:
        yield lambda found: bar.update(task, completed=len(found.items) + len(found.failures))


def overview(record: dict[str, Any]) -> None:
    """The table of ways, and the sentences below it, on standard output."""
    console, setup = Console(highlight=False), record["setup"]
    first = next(iter(record["ways"].values()))
    title = f"{first['n']} problems, {setup['model']}: at most {setup['attempts']} attempts"
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1), collapse_padding=True, pad_edge=False)
    table.add_column("way", no_wrap=True)
    for column in ("right\n(95 % CI)", "attempts", "tokens", "passes", "tokens\nof vote", "time\nof vote"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, told in record["ways"].items():
        table.add_row(name, *_row(told))
    console.print(table)
    console.print(
        "attempts, tokens of all attempts and target passes per problem; tokens and time relative to self-consistency",
        soft_wrap=not console.is_terminal,
    )
    for failure in record["failures"][:3]:
        console.print(f"failed: {failure['item']} under {failure['way']}: {failure['error']}", soft_wrap=True)


def _row(told: dict[str, Any]) -> tuple[str, ...]:
    low, high = told["accuracy_ci"] or (0.0, 0.0)
    return (
        f"{told['accuracy']:.1%} ({low:.0%}-{high:.0%})" if told["accuracy"] is not None else "-",
        f"{told['attempts']:.1f}",
        f"{told['tokens']:.0f}",
        f"{told['passes']:.0f}",
        f"{told['tokens_of_vote']:.2f}",
        f"{told['seconds_of_vote']:.2f}",
    )
