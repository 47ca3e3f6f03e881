"""Judging an answer against the right one."""

from __future__ import annotations

import threading

from laconic.answers import extract, key, number

__all__ = ["extract", "number", "same"]


def same(right: str, given: str) -> bool:
    """Whether an answer is right: equal numbers, equal text (case and spaces aside), or equal to math-verify.

    math-verify is asked only where it is installed, and only about answers that differ as text.
    """
    expected, found = number(right), number(given)
    if expected is not None and found is not None:
        return expected == found
    return key(right) == key(given) or (bool(given) and _equivalent(right, given))


def _equivalent(right: str, given: str) -> bool:
    try:
        from math_verify import parse, verify
    except ImportError:
        return False
    # Its timeouts rest on signals, which only the main thread may use.
    limit = 5 if threading.current_thread() is threading.main_thread() else None
    expected, found = (parse(f"${text}$", parsing_timeout=limit) for text in (right, given))
    return bool(verify(expected, found, timeout_seconds=limit))
