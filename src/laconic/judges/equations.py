"""An exact judge of arithmetic: whether the equations that are written hold."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from laconic.judges.base import Bound, Judge, checked
from laconic.models.text import Message
from laconic.policy import Card, knobs

if TYPE_CHECKING:
    from laconic.engine import Engine

_SPAN = re.compile(r"[\d(+-][\d\s.,()+*/=-]*=[\d\s.,()+*/=-]*")
"""A stretch of numbers and signs with an equals sign in it."""
_BEFORE = re.compile(r"(?:[\w^\\{}_$%]|\bof\s|[^\W_]\s*(?=[+*/-])[+*/-]?)$")
"""What makes of the beginning of a stretch a part of something else: of a name, a power, a percentage, a term."""
_AFTER = re.compile(r"[\w^\\{}_%!]|\s*[+*/^-]\s*\w")
_SIGNS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-"})
_LONGEST = 200
"""Characters of an equation at most."""
_OPERATIONS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@knobs
class Equations(Judge):
    """1 where all equations between numbers that the steps state hold, 0 where one does not.

    laconic's own: an exact checker of steps for arithmetic, as experiments with process rewards need one. Sums,
    differences, products and quotients of numbers are read, chains of equations too; all else is passed over.
    """

    card = Card(paper="laconic's own", lossless=False)

    unknown: Annotated[float, Field(ge=0, le=1)] = 0.5
    """The score where no equation is stated."""

    def bind(self, engine: Engine) -> Bound:
        """It needs nobody."""
        return _Equations(self)


@dataclass(frozen=True, slots=True)
class _Equations:
    judge: Equations

    def score(self, question: Sequence[Message], steps: Sequence[str]) -> float:
        """Read all equations."""
        held = [holds for step in steps for holds in equations(step)]
        return checked(self.judge.name, float(all(held)) if held else self.judge.unknown)

    def close(self) -> None:
        """It holds nothing."""


def equations(text: str) -> list[bool]:
    """Of each chain of equations between numbers, whether it holds.

    >>> equations("First 3 * 4 = 12. Then 12 + 5 = 10 + 7 = 18.")
    [True, False]
    """
    text, found = text.translate(_SIGNS), []
    for match in _SPAN.finditer(text):
        for span in re.split(r"[.,](?=\s|$)", match.group()):
            begin = match.start() + match.group().index(span)
            held = _holds(text[:begin], span.rstrip(), text[begin + len(span.rstrip()) :])
            found += [] if held is None else [held]
    return found


def _holds(before: str, chain: str, after: str) -> bool | None:
    """Whether a chain of equations holds; None for what is none, or is a part of something with letters in it."""
    inner = chain.lstrip()
    signed = inner[:1] in "+-" and before.rstrip()[-1:].isalnum()
    touches = len(inner) == len(chain) and _BEFORE.search(before[-8:])
    if "=" not in inner or len(inner) > _LONGEST or signed or touches or re.search(r"\bof\s*$", before):
        return None
    if inner[-1:] not in "0123456789)" or _AFTER.match(after):
        return None
    sides = [_value(side) for side in inner.split("=")]
    return None if any(side is None for side in sides) else len(set(sides)) == 1


def _value(side: str) -> Fraction | None:
    """The value of a side; None for one that is no expression, or divides by zero."""
    try:
        return _evaluated(ast.parse(re.sub(r"[\s,]", "", side), mode="eval").body)
    except (SyntaxError, ZeroDivisionError, ValueError):
        return None


def _evaluated(node: ast.AST) -> Fraction:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return Fraction(str(node.value))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _evaluated(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        return _OPERATIONS[type(node.op)](_evaluated(node.left), _evaluated(node.right))
    raise ValueError("no arithmetic")
