"""Reading JSON objects from a file: one a line, an array of them, or a single one over many lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from laconic.errors import TaskError


class BadLine(Exception):
    """A place in a file that holds no object; the text says why."""


def lines(path: str | Path, hint: str) -> list[bytes]:
    """The lines of a file, which only a line feed parts: JSON strings may hold other separators as they are.

    A byte order mark is left out. Raises TaskError with ``hint`` for a file that cannot be read.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise TaskError(f"cannot read '{path}': {error.strerror}.", hint) from error
    return raw.removeprefix(b"\xef\xbb\xbf").split(b"\n")


def objects(found: list[bytes]) -> Iterator[tuple[int, dict[str, Any] | BadLine | None]]:
    """Every object of a file's :func:`lines` with its line, or its place in an array; why there is none, or None for a
    line without anything."""
    whole = _whole(found)
    if whole is not None:
        yield from ((at, one if isinstance(one, dict) else BadLine("not an object")) for at, one in enumerate(whole, 1))
        return
    yield from ((at, _read(line)) for at, line in enumerate(found, start=1))


def streamed(path: str | Path, hint: str) -> Iterator[tuple[int, dict[str, Any] | BadLine | None]]:
    """:func:`objects` of a file that is held a line at a time, unless it is one array or one object over many lines.

    Raises TaskError with ``hint`` for a file that cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            first = next((line for line in file if line.strip()), b"").strip().removeprefix(b"\xef\xbb\xbf")
            if first.startswith(b"[") or (first.startswith(b"{") and not first.endswith(b"}")):
                yield from objects(lines(path, hint))
                return
            file.seek(0)
            for at, line in enumerate(file, start=1):
                yield at, _read(line.removeprefix(b"\xef\xbb\xbf") if at == 1 else line)
    except OSError as error:
        raise TaskError(f"cannot read '{path}': {error.strerror}.", hint) from error


def _read(line: bytes) -> dict[str, Any] | BadLine | None:
    text = line.strip()
    if text.startswith(b"data:"):  # as streams are logged
        text = text.removeprefix(b"data:").strip()
    if not text or text == b"[DONE]":
        return None
    try:
        return _object(text)
    except BadLine as error:
        return error


def _whole(found: list[bytes]) -> list[Any] | None:
    """The objects of a file that is one JSON value over several lines, or one array."""
    first = next((line.strip() for line in found if line.strip()), b"")
    if not first.startswith((b"{", b"[")):
        return None
    if first.startswith(b"{") and (first.endswith(b"}") or sum(bool(line.strip()) for line in found) == 1):
        return None
    try:
        value = json.loads(b"\n".join(found).decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict):
        return [value]
    return value if any(isinstance(one, dict) for one in value) else None


def _object(text: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(text.decode("utf-8"))
    except UnicodeDecodeError:
        raise BadLine("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise BadLine(f"not JSON ({error.msg})") from None
    except (RecursionError, ValueError):
        raise BadLine("not JSON (nested too deeply, or a number too long)") from None
    if not isinstance(entry, dict):
        raise BadLine("not an object")
    return entry
