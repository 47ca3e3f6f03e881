"""What each token of a tokenizer stands for, in bytes, whatever family its vocabulary is of."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer

from laconic.errors import TokenizerMismatch

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
"""How SentencePiece writes a single byte."""


class Spelling:
    """A vocabulary in bytes.

    Two families write tokens down differently: byte-level BPE maps every byte to a printable letter, SentencePiece has
    U+2581 for a space and ``<0x0A>`` for a byte. Which of them it is, is read off the tokenizer's own decoder.
    Raises TokenizerMismatch for tokenizers that are neither.
    """

    def __init__(self, tokenizer: Any) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise TokenizerMismatch(
                f"the tokens of a {type(tokenizer).__name__} cannot be taken as bytes.",
                "Give the model a fast tokenizer (tokenizer.json).",
            )
        self._backend = backend
        spell = _spelling(list(_steps(backend.decoder)))
        begin = tokenizer.bos_token_id
        self.begins: tuple[int, ...] = (begin,) if begin is not None and tokenizer.encode("x")[:1] == [begin] else ()
        """What the tokenizer puts before every text."""
        added = backend.get_added_tokens_decoder()
        self.controls: dict[str, int] = {token.content: i for i, token in added.items() if token.special}
        """Tokens that are no text, by what they are called."""
        self.marks = {token.content: i for i, token in added.items()}
        """These, and all others that were added to the vocabulary: tags may be either."""
        self.of: dict[int, bytes] = {}
        """The bytes that each other token stands for."""
        self.bytes: dict[int, int] = {}
        """Tokens for single bytes, which stand for parts of characters."""
        self.by_bytes: dict[bytes, int] = {}
        """The token that stands for some bytes: the first of those that are no byte by themselves, if there is one."""
        control = set(self.controls.values())
        odd: list[tuple[bytes, int]] = []
        for piece, i in sorted(backend.get_vocab(with_added_tokens=True).items(), key=lambda pair: pair[1]):
            if i in control:
                continue
            word, by_itself = spell(piece)
            self.of[i] = word
            if len(word) == 1 and (by_itself or word[0] not in self.bytes):
                self.bytes[word[0]] = i
            if by_itself:
                odd.append((word, i))
            elif word:
                self.by_bytes.setdefault(word, i)
        for word, i in odd:
            self.by_bytes.setdefault(word, i)

    @cached_property
    def writer(self) -> Tokenizer:
        """A tokenizer for text in which the name of a control token is text, too.

        It is a copy: that is a switch of the tokenizer, and prompts are written elsewhere meanwhile.
        """
        made = Tokenizer.from_str(self._backend.to_str())
        made.encode_special_tokens = True
        return made


def _steps(decoder: Any) -> Iterator[dict[str, Any]]:
    """What a decoder does, one step after the other."""
    state: dict[str, Any] = json.loads(decoder.__getstate__()) if decoder is not None else {"type": None}
    steps: list[dict[str, Any]] = state["decoders"] if state["type"] == "Sequence" else [state]
    yield from steps


def _spelling(steps: list[dict[str, Any]]) -> Callable[[str], tuple[bytes, bool]]:
    """From how a token is written to its bytes, and whether it is a byte by itself."""
    kinds = [step["type"] for step in steps]
    if "ByteLevel" in kinds:
        return _byte_level()
    spaces = [step["pattern"].get("String", "") for step in steps if step["type"] == "Replace"]
    spaces += [step["replacement"] for step in steps if step["type"] == "Metaspace"]
    if not any(spaces):
        raise TokenizerMismatch(
            f"the tokens of a vocabulary whose decoder is {kinds[0]} cannot be taken as bytes.",
            "Byte-level BPE and SentencePiece can be.",
        )
    marks = [mark for mark in spaces if mark]

    def spell(piece: str) -> tuple[bytes, bool]:
        if found := _BYTE.fullmatch(piece):
            return bytes([int(found[1], 16)]), True
        for mark in marks:
            piece = piece.replace(mark, " ")
        return piece.encode(), False

    return spell


def _byte_level() -> Callable[[str], tuple[bytes, bool]]:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = {letter: byte for byte, letter in bytes_to_unicode().items()}

    def spell(piece: str) -> tuple[bytes, bool]:
        try:
            return bytes(letters[letter] for letter in piece), False
        except KeyError:  # an added token is written as it is
            return piece.encode(), False

    return spell
