"""What a model has written in its own tokens, in ours."""

from __future__ import annotations

from collections.abc import Sequence

from laconic.models.foreign.reading import Reader
from laconic.models.foreign.spelling import Spelling

_BEFORE = 4
"""Tokens before a draft that are written out again with it."""


class Back:
    """Turns text of theirs into the tokens that our tokenizer writes it in, behind tokens of ours that stand."""

    def __init__(self, ours: Spelling, theirs: Spelling) -> None:
        self._ours, self._theirs = ours, theirs
        self._reader = Reader(theirs, ours)
        self._joins = {
            kind for kind, pair in (("digit", b"12"), ("space", b"  ")) if len(self._reader.read(pair, True)) == 1
        }
        self._joins.add("letter")

    def spell(self, token: int) -> bytes:
        """What a token of theirs stands for; nothing for control tokens."""
        return self._theirs.of.get(token, b"")

    def length(self, token: int) -> int:
        """Bytes of a token of ours."""
        return len(self._ours.of.get(token, b""))

    def control(self, token: int) -> int | None:
        """The control token of ours that is called as this one of theirs."""
        return self._reader.same.get(token)

    def whole(self, tokens: Sequence[int]) -> int:
        """How many of some tokens of ours are what they are, whatever text follows: those before the last word."""
        words = [self._ours.of.get(token, b"") for token in tokens]
        at = len(words) - 1
        while at > 0 and words[at] and words[at - 1]:
            kind = _kind(words[at - 1][-1])
            if kind != _kind(words[at][0]) or kind not in self._joins:
                break
            at -= 1
        return max(at, 0)

    def tokens(self, before: Sequence[int], written: bytes) -> list[int]:
        """Ours for ``written`` behind ``before``, as our tokenizer writes both together if it leaves ``before`` alone.

        Where it would write the last token before the text otherwise (it ends in the middle of a word), ``written`` is
        taken alone: what stands, stands.
        """
        window: list[int] = []
        for token in reversed(before[-_BEFORE:]):
            if not self._ours.of.get(token):
                break
            window.insert(0, token)
        raw = b"".join(self._ours.of[token] for token in window)
        whole = list(self._reader.read(raw + written, True))
        if whole[: len(window)] == window:
            return whole[len(window) :]
        return list(self._reader.read(written, True))


def _kind(byte: int) -> str:
    """What a byte is part of: tokenizers cut where that changes, and within a word they may merge anything."""
    letter = chr(byte)
    if not letter.isascii() or letter.isalpha():
        return "letter"
    return "space" if letter.isspace() else "digit" if letter.isdigit() else "sign"
