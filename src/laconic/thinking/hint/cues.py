"""Cue words ("wait", "let me check") in terms of tokens: which token would complete one, and where one stands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from laconic.errors import RequestError
from laconic.models.text import Text
from laconic.policy import Policy

_CORE = re.compile(r"^[\W_]*(.*?)[\W_]*$", re.DOTALL)
_SPACE = "\u2581"
"""How SentencePiece vocabularies write a space; it is lost where such a token is decoded on its own."""


def _split(given: object) -> object:
    return tuple(part.strip() for part in given.split("/")) if isinstance(given, str) else given


def _plain(words: tuple[str, ...]) -> tuple[str, ...]:
    for word in words:
        if not word or _CORE.fullmatch(word.lower())[1] != word.lower():  # type: ignore[index]
            raise ValueError(f"a cue must begin and end with a letter or digit, not {word!r}")
    return tuple(dict.fromkeys(word.lower() for word in words))


Words = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_plain), Field(min_length=1)]
"""A knob: cue words or phrases in any case, written wait/hmm/let me check."""


class Cues:
    """Cue words in the vocabulary of one tokenizer. Case does not matter, and cues are whole words.

    A cue may be one token in many guises (``wait``, `` Wait``, ``Wait,``), or the end of several: ``che`` and ``ck``.
    Only the token that *completes* a cue is named, so no other word is ever touched: ``ut`` after ``B`` but not after
    ``o``, ``but`` after a blank but not after ``distri``. What may follow is not known yet: where ``but`` is a token
    and ``button`` is not, it counts as a cue there too.
    """

    def __deepcopy__(self, memo: object) -> Cues:
        return self  # it never changes

    def __init__(self, text: Text, words: Sequence[str]) -> None:
        self._spelled = spelled(text)
        self._endings: dict[str, set[int]] = {}
        """Tokens that complete a cue, by what of it must stand before them; the empty string: nothing of it."""
        self._always: set[int] = set()
        """Tokens that bring a whole cue and the blank or mark before it."""
        self._find(text, words)
        self._any = self._always.union(*self._endings.values())
        self._lengths = sorted({len(begun) for begun in self._endings})
        self._depth = max(self._lengths, default=0) + 1
        self._found: dict[tuple[str, ...], tuple[int, ...]] = {}

    def __bool__(self) -> bool:
        return bool(self._any)

    def _find(self, text: Text, words: Sequence[str]) -> None:
        begun: dict[str, list[str]] = {}
        for word in words:
            for at in range(len(word)):
                begun.setdefault(word[at:], []).append(word[:at])
        markup = text.eos | {text.open_token, text.close_token}
        for token, piece in self._spelled.items():
            core = _CORE.fullmatch(piece)
            if token in markup or core is None or not core[1]:
                continue
            if core.start(1) and core[1] in words:
                self._always.add(token)
            for before in begun.get(piece[: core.end(1)], ()):
                self._endings.setdefault(before, set()).add(token)

    def completing(self, before: Sequence[int]) -> tuple[int, ...]:
        """Ids of the tokens that would complete a cue after the tokens ``before``."""
        begun = tuple(self._begun(before))
        if begun not in self._found:
            self._found[begun] = tuple(sorted(self._always.union(*(self._endings[part] for part in begun))))
        return self._found[begun]

    def among(self, tokens: Sequence[int], last: int) -> bool:
        """Whether one of the ``last`` tokens completed a cue."""
        start = max(len(tokens) - last, 0)
        if self._any.isdisjoint(tokens[start:]):
            return False
        return any(self._completes(tokens, at) for at in range(start, len(tokens)))

    def _completes(self, tokens: Sequence[int], at: int) -> bool:
        token = tokens[at]
        if token not in self._any:
            return False
        before = tokens[max(at - self._depth, 0) : at]
        return token in self._always or any(token in self._endings[part] for part in self._begun(before))

    def _begun(self, before: Sequence[int]) -> Iterator[str]:
        """Beginnings of cues that ``before`` ends with, the empty one included where a word may begin."""
        tail = "".join(self._spelled.get(token, "") for token in before[-self._depth :])
        for length in self._lengths:
            at = len(tail) - length
            if at >= 0 and tail[at:] in self._endings and not (at and tail[at - 1].isalnum()):
                yield tail[at:]


@lru_cache(maxsize=8)
def spelled(text: Text) -> dict[int, str]:
    """Every token of a vocabulary in small letters, with the blank before it."""
    made = {}
    for written, token in text.tokenizer.get_vocab().items():
        piece = text.piece(token).lower()
        made[token] = f" {piece}" if written.startswith(_SPACE) and not piece.startswith(" ") else piece
    return made


@lru_cache(maxsize=64)
def _cues(text: Text, words: tuple[str, ...]) -> Cues:
    return Cues(text, words)


def cues_of(policy: Policy, text: Text, words: tuple[str, ...]) -> Cues:
    """The cues of a method in a tokenizer, found once. Raises RequestError if its vocabulary can spell none of them."""
    found = _cues(text, words)
    if not found:
        raise RequestError(
            f"'{policy.name}' finds none of its cue words in the vocabulary: {', '.join(words)}.",
            "Name the words with which this model's thoughts turn: words=...",
        )
    return found


def begins_with(written: str, words: Sequence[str]) -> str | None:
    """The cue with which ``written`` begins, marks before it left out; None for none."""
    text = re.sub(r"^[\W_]+", "", written.lower())
    found = [word for word in words if text.startswith(word) and not text[len(word) : len(word) + 1].isalnum()]
    return max(found, key=len, default=None)
