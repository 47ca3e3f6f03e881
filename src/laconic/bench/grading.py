"""Finding the answer in what a model wrote, and judging it."""

from __future__ import annotations

import re
import threading
from fractions import Fraction

_ANSWER_IS = re.compile(r"answer\s*(?:is|:|=)\s*:?", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?\$?\d[\d,]*(?:\.\d+)?(?:\s*/\s*\d+)?%?")


def extract(text: str) -> str:
    r"""The final answer in a model's reply: the last ``\boxed{...}`` with balanced braces, else what follows the last
    "answer is" on its line, else the last line that is not empty. Empty for an empty reply.

    >>> extract(r"So \boxed{1} ... the answer is \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    """
    return _boxed(text) or _stated(text) or next((s.strip() for s in reversed(text.splitlines()) if s.strip()), "")


def _boxed(text: str) -> str:
    start = text.rfind("\\boxed{")
    while start >= 0:
        depth, begin = 1, start + len("\\boxed{")
        for at in range(begin, len(text)):
            depth += (text[at] == "{") - (text[at] == "}")
            if depth == 0:
                return text[begin:at].strip()
        start = text.rfind("\\boxed{", 0, start)
    return ""


def _stated(text: str) -> str:
    found = list(_ANSWER_IS.finditer(text))
    return text[found[-1].end() :].partition("\n")[0].strip().rstrip(".").strip() if found else ""


def number(text: str) -> Fraction | None:
    """The value of a text that is one number: sign, thousands commas, decimals, ``a/b``, ``$`` and ``%`` are read.

    >>> number("1,234.50"), number("12 apples")
    (Fraction(2469, 2), None)
    """
    stripped = text.strip().rstrip(".").strip().strip("$").strip()
    if not _NUMBER.fullmatch(stripped):
        return None
    percent = stripped.endswith("%")
    top, _, bottom = stripped.rstrip("%").replace(",", "").replace("$", "").partition("/")
    if bottom and int(bottom) == 0:
        return None
    return Fraction(top.strip()) / int(bottom or 1) / (100 if percent else 1)


def same(right: str, given: str) -> bool:
    """Whether an answer is right: equal numbers, equal text (case and spaces aside), or equal to math-verify.

    math-verify is asked only where it is installed, and only about answers that differ as text.
    """
    expected, found = number(right), number(given)
    if expected is not None and found is not None:
        return expected == found
    if "".join(right.split()).casefold() == "".join(given.split()).casefold():
        return True
    return bool(given) and _equivalent(right, given)


def _equivalent(right: str, given: str) -> bool:
    try:
        from math_verify import parse, verify
    except ImportError:
        return False
    # Its timeouts rest on signals, which only the main thread may use.
    limit = 5 if threading.current_thread() is threading.main_thread() else None
    expected, found = (parse(f"${text}$", parsing_timeout=limit) for text in (right, given))
    return bool(verify(expected, found, timeout_seconds=limit))
