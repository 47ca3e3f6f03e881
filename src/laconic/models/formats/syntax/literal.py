"""What a family writes around names and arguments, found again in a text whatever white space stands in it."""

from __future__ import annotations

import re
from dataclasses import dataclass

WILD = "\0"
"""Stands in a text for what differs from call to call: an id, a number."""
_SPACE = re.compile(r"\s*")
_ANY = re.compile(r"[\w.:-]*")
_PARTS = re.compile(f"{WILD}|(?:(?!><)[^\\s{WILD}])+>?")


class Broken(Exception):
    """This is no call."""


class Incomplete(Broken):
    """This is no call yet: the text ends before it can be told."""


@dataclass(frozen=True, slots=True)
class Literal:
    """Words and tags of a template in their order; white space around each of them counts for nothing."""

    parts: tuple[str, ...] = ()

    @staticmethod
    def of(text: str) -> Literal:
        """The words of ``text``, in which ``WILD`` may stand; two tags side by side are two words."""
        return Literal(tuple(_PARTS.findall(text)))

    @property
    def trigger(self) -> str:
        """What the text begins with; empty where that differs from call to call, or where there is no word at all."""
        return self.parts[0] if self.parts and self.parts[0] != WILD else ""

    def match(self, text: str, at: int) -> int:
        """Where the words end that stand in ``text`` from ``at`` on.

        Raises Incomplete where the text ends before all of them, Broken where others stand there.
        """
        for part in self.parts:
            if part == WILD:
                found = _ANY.match(text, at)
                at = found.end() if found else at
                continue
            at = space(text, at)
            if not text.startswith(part, at):
                raise Incomplete if part.startswith(text[at:]) else Broken
            at += len(part)
        return at

    def follows(self, text: str, at: int) -> bool:
        """Whether the words stand there, or as many of them as fit into the text."""
        try:
            self.match(text, at)
        except Incomplete:
            return True
        except Broken:
            return False
        return True

    def behind(self, other: Literal) -> Literal:
        """What comes after ``other``, where that is among the words; all of them where it is not."""
        size = len(other.parts)
        starts = [at for at in range(len(self.parts) - size + 1) if self.parts[at : at + size] == other.parts]
        return Literal(self.parts[starts[-1] + size :]) if size and starts else self

    def first(self) -> Literal:
        """The first word alone."""
        return Literal(self.parts[:1])


def space(text: str, at: int) -> int:
    """Where white space ends that begins at ``at``."""
    found = _SPACE.match(text, at)
    return found.end() if found else at
