"""Texts that a model reads before a merge: out of a file, and into blocks of tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from laconic.bench import jsonl
from laconic.errors import TaskError

_JSON = (".json", ".jsonl")
HINT = 'Give JSON lines with a "text" each (.jsonl), or a file with a text on each line.'


@dataclass(frozen=True)
class Texts:
    """The texts of a file, and the SHA-256 of its bytes."""

    found: tuple[str, ...]
    sha256: str


def read(file: str | Path) -> Texts:
    """The ``text`` of every object of a .jsonl or .json file, or else every line that is not empty.

    Raises TaskError for a file that cannot be read, a line without a text, and where there is none at all.
    """
    lines = jsonl.lines(file, HINT)
    found = _objects(file, lines) if Path(file).suffix in _JSON else _plain(file, lines)
    texts = tuple(text for text in found if text.strip())
    if not texts:
        raise TaskError(f"'{file}' holds no text.", HINT)
    return Texts(texts, hashlib.sha256(Path(file).read_bytes()).hexdigest())


def blocks(
    texts: Sequence[str], encode: Callable[[str], list[int]], most: int, width: int
) -> tuple[list[list[int]], int]:
    """The first ``most`` tokens of texts, in blocks of at most ``width`` and of one text each; and of how many texts.

    >>> blocks(["abc", "de", "f"], list, 5, 2)
    ([['a', 'b'], ['c'], ['d', 'e']], 2)
    """
    made: list[list[int]] = []
    left = most
    for count, text in enumerate(texts, start=1):
        tokens = encode(text)[:left]
        made += [tokens[start : start + width] for start in range(0, len(tokens), width)]
        left -= len(tokens)
        if not left:
            return made, count
    return made, len(texts)


def _objects(file: str | Path, lines: list[bytes]) -> list[str]:
    found: list[str] = []
    for at, row in jsonl.objects(lines):
        if row is None:
            continue
        if isinstance(row, jsonl.BadLine):
            raise TaskError(f"{file}, line {at}: {row}.", HINT)
        if not isinstance(row.get("text"), str):
            raise TaskError(f"{file}, line {at}: it has no text.", HINT)
        found.append(row["text"])
    return found


def _plain(file: str | Path, lines: list[bytes]) -> list[str]:
    try:
        return [line.decode("utf-8").rstrip("\r") for line in lines]
    except UnicodeDecodeError as error:
        raise TaskError(f"'{file}' is not UTF-8.", HINT) from error
