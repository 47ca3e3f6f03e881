"""What is learned from, and what is kept back to measure by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from laconic.errors import TaskError

T = TypeVar("T")


def split(
    found: Sequence[T], held_out: float, what: str, hint: str = "Raise --n.", *, least: int = 1
) -> tuple[Sequence[T], Sequence[T]]:
    """Those to train on, at least ``least``, and the last ones, the share ``held_out`` and at least one.

    Raises TaskError where there are too few; ``what`` says of what.
    """
    kept = max(1, round(held_out * len(found)))
    if len(found) - kept < least:
        raise TaskError(f"{len(found)} {what} are too few to train on some and measure on others.", hint)
    return found[:-kept], found[-kept:]
