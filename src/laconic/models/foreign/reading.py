"""A text that is given in one vocabulary, read in another: token by token, back and forth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from laconic.models.foreign.spelling import Spelling

_LONG, _SHORT = 24, 8
"""Tokens at the end of a text that may still be read otherwise: once there are more than so many, so many are left."""
_KEPT = 4096
"""Short texts that a reader remembers."""
_BRIEF = 256
"""Bytes of the longest text that it remembers."""
_UNALIGNED = 512
"""Bytes of a text whose tokens spell something else (normalised letters), after which it is cut off all the same."""

_BEFORE = ("\n", ".", "0")
"""What the middle of a text is read behind, by tokenizers that put something before a text; one may merge with it."""


class Reading(NamedTuple):
    """A text as the other vocabulary reads it: ``settled`` tokens kept elsewhere, then ``since``, then ``window``.

    ``raw`` is what ``window`` was read from: the end of the text, which more text may change the reading of. ``inside``
    says that it goes on from other text.
    """

    settled: int = 0
    since: tuple[int, ...] = ()
    raw: bytes = b""
    window: tuple[int, ...] = ()
    inside: bool = False

    @property
    def tail(self) -> tuple[int, ...]:
        """Its tokens beyond the settled ones."""
        return self.since + self.window


class Reader:
    """Reads tokens of one vocabulary in another, so that both stand for the same text.

    A text is read as the other tokenizer would write it, not token by token; what a token in the middle of a word or of
    a character means is settled by what follows. Control tokens that both vocabularies have are themselves, others are
    read as their names. Bytes that are no character are read as bytes.
    """

    def __init__(self, ours: Spelling, theirs: Spelling) -> None:
        self._theirs = theirs
        self.same: dict[int, int]
        """Control tokens of ours, and theirs that are called alike."""
        control = ours.controls.keys() | theirs.controls.keys()
        self.same = {
            i: theirs.marks[name] for name, i in ours.marks.items() if name in theirs.marks and name in control
        }
        self._words = ours.of | {i: name.encode() for name, i in ours.controls.items() if i not in self.same}
        for i in ours.begins:  # each tokenizer has its own token before a text
            self.same.pop(i, None)
            self._words[i] = b""
        self.begun = Reading(since=theirs.begins)
        """A text in which nothing stands yet."""
        self._known: dict[tuple[bytes, bool], tuple[int, ...]] = {}
        spelled = b"".join(self._spelled(self._encode("x")))
        self._leads = spelled[: -len(b"x")]
        """What their tokenizer puts before every text: nothing, or the space of SentencePiece."""

    def extend(self, reading: Reading, tokens: Sequence[int]) -> Reading:
        """The text goes on with ``tokens`` of ours."""
        settled, since, raw, window, inside = reading
        fresh = False
        for token in tokens:
            if (control := self.same.get(token)) is None:
                raw += (word := self._words.get(token, b""))
                fresh = fresh or bool(word)
                continue
            if fresh:
                window = self.read(raw, inside)
            since, raw, window, inside, fresh = (*since, *window, control), b"", (), False, False
        return Reading(settled, since, raw, self.read(raw, inside) if fresh else window, inside)

    def cut(self, reading: Reading) -> Reading:
        """The same with all but the end of a long window settled, as far as it can be told which token is what."""
        settled, since, raw, window, _ = reading
        if len(window) <= _LONG:
            return reading
        spelled = self._spelled(window)
        if b"".join(spelled) != raw:
            lead = len(self._leads)
            if not (lead and b"".join(spelled)[lead:] == raw):
                return Reading(settled, (*since, *window), b"", (), True) if len(raw) > _UNALIGNED else reading
            spelled[0] = spelled[0][lead:]
        whole = [at for at in range(len(window) - _LONG // 2, len(window) - _SHORT) if _begins(spelled[at])]
        if not whole:
            return reading
        # Words rather than parts of them, so that the rest is read as it was.
        at = next((at for at in whole if spelled[at][:1].isspace()), whole[-1])
        return Reading(settled, (*since, *window[:at]), b"".join(spelled[at:]), window[at:], True)

    def firsts(self, words: Sequence[bytes]) -> list[int | None]:
        """The first of their tokens for each of many words inside a text; None for one that cannot be written."""
        found: list[int | None] = []
        whole: list[tuple[int, str]] = []
        for at, word in enumerate(words):
            text = word.decode(errors="ignore")
            if text.encode() == word and text and not self._leads:
                whole.append((at, text))
                found.append(None)
            else:
                found.append(next(iter(self._pieces(word, True)), None))
        cut = self._theirs.writer.encode_batch_fast([text for _, text in whole], add_special_tokens=False)
        for (at, _), encoding in zip(whole, cut, strict=True):
            found[at] = next(iter(encoding.ids), None)
        return found

    def _spelled(self, tokens: Sequence[int]) -> list[bytes]:
        return [self._theirs.of.get(token, b"") for token in tokens]

    def read(self, raw: bytes, inside: bool) -> tuple[int, ...]:
        """Their tokens for the bytes ``raw``, which go on ``inside`` a text or begin one."""
        if len(raw) > _BRIEF:
            return tuple(self._pieces(raw, inside))
        if (raw, inside) not in self._known:
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[raw, inside] = tuple(self._pieces(raw, inside))
        return self._known[raw, inside]

    def _pieces(self, raw: bytes, inside: bool) -> list[int]:
        found: list[int] = []
        while raw:
            try:
                text, broken, raw = raw.decode(), b"", b""
            except UnicodeDecodeError as error:
                text, broken, raw = raw[: error.start].decode(), raw[error.start : error.end], raw[error.end :]
            if text:
                found += self._encode_inside(text) if inside or found else self._encode(text)
            found += [self._theirs.bytes[byte] for byte in broken if byte in self._theirs.bytes]
        return found

    def _encode(self, text: str) -> list[int]:
        return list(self._theirs.writer.encode(text, add_special_tokens=False).ids)

    def _encode_inside(self, text: str) -> list[int]:
        """As ``_encode``, without what the tokenizer puts before a text."""
        if not self._leads:
            return self._encode(text)
        for before in _BEFORE:
            found, seen = self._encode(before + text), b""
            for at, token in enumerate(found):
                seen += self._theirs.of.get(token, b"")
                if seen == self._leads + before.encode():
                    return found[at + 1 :]
        found = self._encode(text)
        return found[1:] if self._spelled(found[:1]) == [self._leads] else found


def _begins(word: bytes) -> bool:
    """Whether a token begins with a character, not with the rest of one."""
    return bool(word) and not 0x80 <= word[0] < 0xC0
