"""Finding the answer in what a model wrote, and reading it as a number."""

from __future__ import annotations

import re
from fractions import Fraction

_ANSWER_IS = re.compile(r"answer\s*(?:is|:|=)\s*:?", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?\$?\d[\d,]*(?:\.\d+)?(?:\s*/\s*\d+)?%?")


def extract(text: str) -> str:
    r"""The final answer in a model's reply: the last ``\boxed{...}`` with balanced braces, else what follows the last
    "answer is" on its line, else the last line that is not empty. Empty for an empty reply.

    >>> extract(r"So \boxed{1} ... the answer is \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    """
    return stated(text) or next((s.strip() for s in reversed(text.splitlines()) if s.strip()), "")


def stated(text: str) -> str:
    """The answer that a text names as one, boxed or after "answer is"; empty if it names none."""
    return _boxed(text) or _said(text)


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


def _said(text: str) -> str:
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


def key(answer: str) -> Fraction | str:
    """What equal answers share: their value if they are numbers, else their text without case and spaces.

    >>> key("1,000") == key("1000.0"), key("x = 2") == key("X=2")
    (True, True)
    """
    value = number(answer)
    return value if value is not None else "".join(answer.split()).casefold()
