r"""Whether two answers are the same: the one judgement of tasks, replays, training labels and exits.

Text is compared as text, numbers as exact numbers, lists item by item, quantities with their units. Only what is
written as a formula is put before math-verify, which between dollars would read any word as a product of letters.
"""

from __future__ import annotations

import re
import threading
from fractions import Fraction

from laconic.answers import bare, key, number, undress

_NAMED = re.compile(r"[A-Za-z]\s*(?:=(?!=)|\\in(?![A-Za-z]))")
"""``x = 3`` names its value."""
_CHOICE = re.compile(r"^\(?([A-Za-z])\)$")
_VALUE = r"(?P<value>[-+]?\$?(?:\d|\\frac)[\d\s/.,{}]*?)"
_QUANTITY = re.compile(_VALUE + r"\s*(?P<unit>[^\W\d_]{2,}(?:[\s/*·^-]*[^\W\d_]+|\^?\{?-?\d+\}?)*)")
_DRESSED = re.compile(_VALUE + r"\s*(?:\\[,; ])?\s*\\(?:text|mathrm)\s*\{\s*(?P<unit>[^{}]*?)\s*\}")
_MONEY = re.compile(r"(?P<unit>[$€£¥])\s*(?P<value>\d[\d.,]*)")
_SAME_UNIT = {"dollar": "$", "usd": "$", "euro": "€", "eur": "€"}
_SCALES = re.compile(
    r"(?:hundred|thousand|million|billion|trillion|dozen|percent|per ?cent|pi|am|pm|mod|and|or|to)s?\b.*", re.IGNORECASE
)
"""Words after a number that change its value, so that it is not the same without them."""
_NAME = re.compile(r"(?<![\\A-Za-z])(sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|ln|log|exp|pi)(?![A-Za-z])")
_WORD = re.compile(r"[^\W\d_]{2,}")
_PRODUCT = re.compile(r"[xyz]{2,3}|[abc]{2,3}")
"""Letters side by side that mean a product and spell nothing."""
_COMMAND = re.compile(r"\\(?:begin|end)\s*\{[a-z]+\*?\}|\\[A-Za-z]+|(?<![A-Za-z])sqrt(?![A-Za-z])")
_NO_FORMULA = re.compile(r"['\"?@#~:;]|\d_|\d\s+\d|^\d+(?:[-/.]\d+){2,}$|^\d+-\d+$")
"""Primes and other bases, which math-verify drops; numbers side by side; dates, scores and times."""
_LONGEST = 300
"""Characters of a formula at most."""


def same(right: str, given: str) -> bool:
    r"""Whether two answers are the same; an empty one is the same as none.

    Text counts without case, spaces around signs and what surrounds it. A number is also the same as a quantity of it
    (``10``, ``10 cm``), but never are quantities of different units; ``x = 3`` is the same as ``3``, ``(B)`` as ``B``.
    Items of ``(...)``, ``[...]`` and of bare lists must come in the same order, those of ``{...}`` need not.

    >>> same("1,200", r"\$1200"), same("listen", "silent"), same("(1,2)", "{1,2}"), same("10 cm", "10 km")
    (True, False, False, False)
    """
    one, other = bare(right), bare(given)
    return bool(one and other) and _same(one, other)


def _same(one: str, other: str) -> bool:
    if _letter(key(one)) == _letter(key(other)):
        return True
    if number(one) is not None and number(other) is not None:
        return False
    for named, value in ((one, other), (other, one)):
        name = _NAMED.match(named)
        if name and not _NAMED.match(value):
            return same(named[name.end() :], value)
    first, second = _items(one), _items(other)
    if first or second:
        return first is not None and second is not None and _same_items(*first, *second)
    left, right = _quantity(one), _quantity(other)
    if left and right:
        return left[0] == right[0] and _same_unit(left[1], right[1])
    return _is_formula(one) and _is_formula(other) and _equivalent(_latex(one), _latex(other))


def _letter(answer: Fraction | str) -> Fraction | str:
    """A choice without its brackets."""
    return _CHOICE.sub(r"\1", answer) if isinstance(answer, str) else answer


def _items(text: str) -> tuple[str, list[str]] | None:
    """The brackets around a list (none around a bare one) and what is in it; None for what is no list."""
    text = re.sub(r"\\(?:left|right)(?![A-Za-z])|\\(?=[{}])", "", text).strip()
    ends = text[:1] + text[-1:]
    if len(ends) == 2 and ends[0] in "([{" and ends[1] in ")]}" and _closes_last(text):
        inner = _split(text[1:-1])
        return (ends, inner) if len(inner) > 1 or ends != "()" else None
    parts = _split(text)
    return ("", parts) if len(parts) > 1 else None


def _closes_last(text: str) -> bool:
    """Whether the bracket that opens a text is closed by its last character, and by none before."""
    depth = 0
    for at, sign in enumerate(text):
        depth += (sign in "([{") - (sign in ")]}")
        if depth <= 0:
            return depth == 0 and at == len(text) - 1
    return False


def _split(text: str) -> list[str]:
    """A text at its commas outside of brackets, thousands commas aside."""
    if number(text) is not None:
        return [text]
    parts, depth = [""], 0
    for sign in text:
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return parts


def _same_items(brackets: str, first: list[str], others: str, second: list[str]) -> bool:
    if brackets != others:
        return False
    if brackets == "{}":
        return all(any(same(a, b) for b in second) for a in first) and all(
            any(same(a, b) for a in first) for b in second
        )
    return len(first) == len(second) and all(map(same, first, second))


def _quantity(text: str) -> tuple[Fraction, str] | None:
    found = _DRESSED.fullmatch(text) or _MONEY.fullmatch(text) or _QUANTITY.fullmatch(undress(text))
    value = number(found["value"] if found else text)
    if value is None:
        return None
    unit = re.sub(r"\s+|[{}]", "", found["unit"]).casefold() if found else ""
    unit = unit[:-1] if len(unit) > 2 and unit.endswith("s") else unit
    return value, _SAME_UNIT.get(unit, unit)


def _same_unit(one: str, other: str) -> bool:
    return one == other or not ((one and other) or _SCALES.fullmatch(one + other))


def _is_formula(text: str) -> bool:
    words = _WORD.findall(_NAME.sub("", _COMMAND.sub("", text)))
    signs = re.search(r"[\d+*/^=<>|!]|\w\s*-|\\[A-Za-z]|^-|sqrt", text) or _NAME.search(text)
    return bool(signs and len(text) <= _LONGEST and not _NO_FORMULA.search(text)) and all(
        map(_PRODUCT.fullmatch, words)
    )


def _latex(text: str) -> str:
    return re.sub(r"\^(-?\d+)", r"^{\1}", _NAME.sub(r"\\\1", text.replace("**", "^")))


def _equivalent(one: str, other: str) -> bool:
    """What math-verify says of two formulas; False where it is not installed."""
    try:
        from math_verify import LatexExtractionConfig, parse, verify
    except ImportError:
        return False
    # Its timeouts rest on signals, which only the main thread may use.
    limit = 5 if threading.current_thread() is threading.main_thread() else None
    parts = [LatexExtractionConfig()]
    expected, found = (parse(f"${text}$", extraction_config=parts, parsing_timeout=limit) for text in (one, other))
    return bool(verify(expected, found, timeout_seconds=limit))
