"""Text as token ids for a replay: a real tokenizer by name or path, or a splitter that ships with the package."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from laconic.errors import ModelNotFound

_PIECE = re.compile(
    r" ?[^\W\d_]{1,12}"  # a word with the space before it; a longer one goes on in pieces
    r"|\d{1,3}"
    r"| ?[^\s\w]{1,3}"  # a run of punctuation
    r"|_+"
    r"|[^\S\r\n]*[\r\n]+"  # line breaks, with what trails before them
    r"|[^\S\r\n]+(?= \S)"  # indentation, up to the space that goes with the word
    r"|\s+",
)
"""Every character is of one of the classes, so that the pieces of a text join to that text."""


class Tokenizer(Protocol):
    """Text to ids and back. ``approximate`` says that the ids are not those of any model."""

    name: str
    approximate: bool

    @property
    def size(self) -> int:
        """All ids so far are below it."""
        ...

    def encode(self, text: str) -> list[int]:
        """Ids of ``text``, nothing added."""
        ...

    def decode(self, ids: list[int]) -> str:
        """Text of ``ids``."""
        ...


class Splitter:
    """Splits text as the byte-pair tokenizers of today do before they merge, and numbers the pieces as they come.

    A word is one token with its leading space (most common words are), digits come in groups of three, punctuation
    in short runs, line breaks and indentation by themselves. Reversible by construction: the pieces are the text.
    Rare words are single tokens here and several in a real vocabulary, and scripts without spaces are cut every
    twelve letters, so counts are approximate; ratios between drafters hardly depend on it.
    """

    name = "built-in splitter"
    approximate = True

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._pieces: list[str] = []

    @property
    def size(self) -> int:
        """Pieces seen so far."""
        return len(self._pieces)

    def encode(self, text: str) -> list[int]:
        """Ids of the pieces of ``text``; new pieces get the next free id."""
        ids = self._ids
        found = []
        for piece in _PIECE.findall(text):
            number = ids.get(piece)
            if number is None:
                number = ids[piece] = len(ids)
                self._pieces.append(piece)
            found.append(number)
        return found

    def decode(self, ids: list[int]) -> str:
        """The pieces, joined."""
        return "".join(self._pieces[number] for number in ids)


class Loaded:
    """A tokenizer of Transformers or tokenizers."""

    approximate = False

    def __init__(self, name: str) -> None:
        self.name = name
        self._encode: Callable[[str], list[int]]
        self._decode: Callable[[list[int]], str]
        self._size: int
        if Path(name).is_file():
            self._encode, self._decode, self._size = _from_file(name)
        else:
            from laconic.models.load import load_text

            text = load_text(name)
            self._encode, self._decode, self._size = text.encode, text.decode, len(text.tokenizer)

    @property
    def size(self) -> int:
        """Width of the vocabulary."""
        return self._size

    def encode(self, text: str) -> list[int]:
        """Ids of ``text``, no special tokens added."""
        return self._encode(text)

    def decode(self, ids: list[int]) -> str:
        """Text of ``ids``, special tokens included."""
        return self._decode(ids)


def load(name: str | None) -> Tokenizer:
    """A tokenizer by hub name, directory or ``tokenizer.json``; None is the built-in splitter. Raises ModelNotFound."""
    return Splitter() if name is None else Loaded(name)


def _from_file(path: str) -> tuple[Callable[[str], list[int]], Callable[[list[int]], str], int]:
    from tokenizers import Tokenizer as Fast

    try:
        fast = Fast.from_file(path)
    except Exception as error:  # tokenizers raises bare Exception
        raise ModelNotFound(f"'{path}' is no tokenizer file: {error}.", "Name a tokenizer.json or a folder.") from error
    return (
        lambda text: list(fast.encode(text, add_special_tokens=False).ids),
        lambda ids: str(fast.decode(ids, skip_special_tokens=False)),
        int(fast.get_vocab_size()),
    )
