"""Pieces of a reply, and the care that content takes: no white space at its ends, no half of a tag."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from laconic.models.formats.syntax.call import Call


class Thought(NamedTuple):
    """Some of the thought."""

    text: str


class Content(NamedTuple):
    """Some of what the user is to read."""

    text: str


Piece = Thought | Content | Call


class Words:
    """Content on its way: white space waits for what comes behind it, and goes where nothing does."""

    def __init__(self) -> None:
        self._space = ""
        self.begun = False
        """Whether anything has been said."""

    def say(self, text: str) -> list[Piece]:
        """What of the content so far is to be read now."""
        text = self._space + text if self.begun else text.lstrip()
        said = text.rstrip()
        self._space = text[len(said) :]
        self.begun |= bool(said)
        return [Content(said)] if said else []


def held(text: str, tags: Iterable[str]) -> int:
    """How many characters at the end of a text may be the beginning of one of ``tags``."""
    return max((n for tag in tags for n in range(1, len(tag)) if text.endswith(tag[:n])), default=0)
