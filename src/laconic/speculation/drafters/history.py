"""Shared by drafters that copy from a request's own tokens: where a copy still agrees with them, and what it gives."""

from __future__ import annotations

from laconic.models.prefix import common_prefix
from laconic.speculation.base import Go, Judge, Node

__all__ = ["common_prefix", "copied", "judged"]


def copied(history: list[int], place: int, count: int) -> list[int]:
    """``count`` tokens from a place on; behind the end of the text through those just copied, with their period."""
    found = history[place : place + count]
    while len(found) < count:
        found.append(found[len(found) - (len(history) - place)])
    return found


def judged(draft: list[int], matched: int, judge: Judge | None) -> list[int]:
    """What ``judge`` leaves of a draft that was copied from behind ``matched`` tokens that agreed.

    Each token's confidence is that of Laplace's rule of succession: so many agreed, and none differed.
    """
    if judge is None:
        return draft
    for depth in range(len(draft)):
        go = judge(Node(depth, None, (matched + 1) / (matched + 2)))
        if go is not Go.ON:
            return draft[: depth + (go is Go.LAST)]
    return draft
