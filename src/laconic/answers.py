"""Finding the answer in what a model wrote, and reading it as a number."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

_ANSWER_IS = re.compile(r"answer\s*(?:is|:|=)\s*:?", re.IGNORECASE)
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+"
_NUMBER = re.compile(
    rf"(?P<sign>[-+])?\s*(?:\$\s*(?P<minus>-)?)?(?:(?P<whole>\d+)\s+(?=\d+\s*/))?(?P<top>{_DIGITS})"
    r"(?:e(?P<e>[-+]?\d{1,3})|\s*(?:\*|x|×|\\times|\\cdot)\s*10\s*\^\s*\{?\s*(?P<ten>[-+]?\d{1,3})\s*\}?)?"
    r"(?:\s*/\s*(?P<bottom>\d+))?\s*(?P<percent>%)?",
    re.IGNORECASE,
)
_POWER = re.compile(r"([-+]?)10\s*\^\s*\{?\s*([-+]?\d{1,3})\s*\}?")
_OTHER_BASE = re.compile(r"([-+]?)0(?:x[0-9a-f]+|b[01]+|o[0-7]+)", re.IGNORECASE)
_LONGEST = 400
"""Characters of a number at most; what runs on is text."""
_FRACTION = re.compile(r"\\[dt]?frac\s*(?:\{\s*(-?\d+)\s*\}|(\d))\s*(?:\{\s*(\d+)\s*\}|(\d))")
_DRESS = (
    (re.compile(r"\\(?:text(?:bf|it|rm)?|mathrm|mathbf|operatorname)\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\(?:(?:left|right|displaystyle|quad)(?![A-Za-z])|[,!;:(\[\])])"), ""),
    (re.compile(r"\\([$%])"), r"\1"),
    (re.compile(r"\^\s*\{?\s*\\circ\s*\}?|°"), ""),
    (re.compile(r"\\[dt]frac"), r"\\frac"),
    (re.compile(r"(?<=\d)\{,\}(?=\d)"), ","),
)
_SIGNS = str.maketrans({"−": "-", "‐": "-", "‑": "-", "’": "'", "‘": "'", "“": '"', "”": '"', "\u00a0": " "})
_WRAPS = (
    ("**", "**"),
    ("__", "__"),
    ("`", "`"),
    ('"', '"'),
    ("'", "'"),
    ("$$", "$$"),
    ("$", "$"),
    (r"\(", r"\)"),
    (r"\[", r"\]"),
)
_SHOUT = re.compile(r"(?<=[^\W\d_]{2})[!?]+$")
_BETWEEN_WORDS = re.compile(r"(?<=\d)\s+(?=\d)|(?<=[^\W\d_]{2})\s+(?=[^\W\d_])|(?<=[^\W\d_])\s+(?=[^\W\d_]{2})")
"""Spaces that part one thing from another: between numbers, and at words of more than one letter."""


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


def undress(text: str) -> str:
    r"""LaTeX without what only sets it: ``\text``, ``\left``, degrees, ``\$``, thin spaces.

    >>> undress(r"90^\circ"), undress(r"\$1{,}200 \text{ dollars}")
    ('90', '$1,200  dollars')
    """
    for pattern, plain in _DRESS:
        text = pattern.sub(plain, text)
    return text


def bare(text: str) -> str:
    """An answer without what surrounds it: spaces, a full stop, quotes, dollars and stars; plain minus and quotes.

    >>> bare("**(B)**."), bare("“Dog”"), bare("$7$")
    ('(B)', 'Dog', '7')
    """
    text = unicodedata.normalize("NFC", text).translate(_SIGNS)
    while True:
        before, text = text, _SHOUT.sub("", text.strip().rstrip(".,;:").strip())
        for opening, closing in _WRAPS:
            inner = text[len(opening) : -len(closing)]
            if len(text) > len(opening + closing) and text == opening + inner + closing and opening not in inner:
                text = inner
        if text == before:
            return text


def number(text: str) -> Fraction | None:
    r"""The value of a text that is one number, exactly; None for any other text.

    Signs, thousands commas, decimals, ``a/b``, mixed numbers, powers of ten, ``0x``/``0b``/``0o``, ``\frac{a}{b}``,
    ``$`` and ``%`` are read.

    >>> number("1,234.50"), number("1 1/2"), number("1e3"), number("12 apples")
    (Fraction(2469, 2), Fraction(3, 2), Fraction(1000, 1), None)
    """
    if len(text) > _LONGEST or not any(map(str.isnumeric, text)):
        return None
    plain = undress(_FRACTION.sub(_written_out, bare(text)))
    plain = "".join(
        f" {unicodedata.normalize('NFKC', c).replace('⁄', '/')}" if c in "½⅓⅔¼¾⅕⅛" else c for c in plain
    ).strip()
    if _OTHER_BASE.fullmatch(plain):
        return Fraction(int(plain, 0))
    if power := _POWER.fullmatch(plain):
        return Fraction(10) ** int(power[2]) * (-1 if power[1] == "-" else 1)
    found = _NUMBER.fullmatch(plain.strip("$").strip())
    return _value(found) if found else None


def _written_out(found: re.Match[str]) -> str:
    return f" {found[1] or found[2]}/{found[3] or found[4]}"


def _value(found: re.Match[str]) -> Fraction | None:
    bottom = int(found["bottom"] or 1)
    if bottom == 0:
        return None
    value = Fraction(found["top"].replace(",", "")) * Fraction(10) ** int(found["e"] or found["ten"] or 0) / bottom
    value = (value + int(found["whole"] or 0)) / (100 if found["percent"] else 1)
    return -value if "-" in (found["sign"], found["minus"]) else value


def key(answer: str) -> Fraction | str:
    """What equal answers share: their value if they are numbers, else their text in one case, with only those spaces
    that part words or numbers. :func:`laconic.equality.same` sees more.

    >>> key("1,000") == key("1000.0"), key("x = 2") == key("X=2"), key("1 2") == key("12")
    (True, True, False)
    """
    value = number(answer)
    if value is not None:
        return value
    text = _BETWEEN_WORDS.sub("\0", bare(undress(bare(answer))).replace(r"\{", "{").replace(r"\}", "}").strip())
    return "".join(text.split()).replace("\0", " ").casefold()
