"""A call of a tool, and what reading one takes whatever its family."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from laconic.models.formats.syntax.literal import Broken, Incomplete, Literal, space
from laconic.models.formats.syntax.values import decoded, strict, written

_NAME = re.compile(r"[\w.\-/]+")
_OVER = re.compile(r"\s*(<[^<>\s]+>\s*)?")


class Call(NamedTuple):
    """A call of a tool as the model wrote it; ``arguments`` is the text of a JSON object."""

    name: str
    arguments: str


def nothing(text: str, at: int) -> Any:
    """Nothing of a call stands at ``at``: yet, or at all."""
    raise Incomplete if at >= len(text) else Broken


def named(text: str, at: int) -> tuple[str, int]:
    """The name at ``at``, and where it ends. Raises Incomplete where the text ends with it, Broken where none is."""
    found = _NAME.match(text, space(text, at))
    if found is None:
        nothing(text, space(text, at))
    assert found is not None
    if found.end() == len(text):
        raise Incomplete
    return found.group(), found.end()


def as_object(arguments: Any) -> str:
    """Arguments as the text of a JSON object; they may be such a text already, with a tag behind it."""
    if isinstance(arguments, str):
        text = arguments.lstrip()
        value, end = decoded(text, 0)
        if not isinstance(value, dict) or _OVER.fullmatch(text[end:]) is None:
            raise Broken
        return text[:end] if strict(text[:end]) else written(value)
    if not isinstance(arguments, dict):
        raise Broken
    return written(arguments)


def closed(text: str, at: int, ends: tuple[Literal, ...]) -> None:
    """Raise unless what closes a call stands at ``at``: Incomplete where that may still come."""
    cut = False
    for end in ends:
        try:
            end.first().match(text, at)
        except Incomplete:
            cut = True
        except Broken:
            continue
        else:
            return
    raise Incomplete if cut else Broken
