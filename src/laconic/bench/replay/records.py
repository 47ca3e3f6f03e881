"""Recorded outputs from JSON lines: who was given what, and what was written in reply."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laconic.bench.replay.chat import Unusable, flat, given_of, log, written_of
from laconic.errors import TaskError

FORMS = (
    'Forms: {"question", "response"}, {"messages": [{"role", "content"}, ...]}, or a log of an OpenAI-style server, '
    '{"request": {"messages"}, "response": {"choices"}}; see docs/replay.md.'
)


@dataclass(frozen=True, slots=True)
class Turn:
    """``given`` is what the model read since its last turn, ``written`` what it wrote then, thought included."""

    given: str
    written: str


@dataclass(frozen=True, slots=True)
class Recording:
    """One request or conversation. ``answer`` is the known right answer, if the record brings one."""

    id: str
    line: int
    turns: tuple[Turn, ...]
    answer: str | None = None
    question: str = ""
    """What was asked, where the record is a single question; else empty."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a file that was left out, and why."""

    line: int
    reason: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Recordings:
    """A file's usable records in order, and what was left out. ``empty_lines`` counts lines without anything."""

    path: str
    records: tuple[Recording, ...]
    problems: tuple[Problem, ...]
    empty_lines: int


def read(path: str | Path, limit: int | None = None) -> Recordings:
    """The first ``limit`` usable records of a file. Lines that cannot be used are named, and the rest goes on.

    Raises TaskError for a file that cannot be read or has no usable record at all.
    """
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise TaskError(f"cannot read '{path}': {error.strerror}.", FORMS) from error
    records: list[Recording] = []
    problems: list[Problem] = []
    empty = 0
    for at, raw in enumerate(lines, start=1):
        if limit is not None and len(records) >= limit:
            break
        if not raw.strip():
            empty += at < len(lines)  # The text after the last line break is no line.
            continue
        try:
            records += _recordings(raw, at, Path(path).stem)
        except Unusable as error:
            problems.append(Problem(at, str(error)))
    if not records:
        first = f" Line {problems[0].line}: {problems[0].reason}." if problems else ""
        raise TaskError(f"'{path}' has no usable record.{first}", FORMS)
    return Recordings(str(path), tuple(records[:limit]), tuple(problems), empty)


def _recordings(raw: bytes, at: int, stem: str) -> Iterator[Recording]:
    """The records of one line: one, or as many as a log has choices."""
    entry = _parse(raw)
    named = entry.get("id", entry.get("custom_id"))
    name = str(named) if isinstance(named, (str, int)) and str(named) else f"{stem}/{at}"
    answer = _answer(entry.get("answer"))
    if isinstance(entry.get("question"), str) and isinstance(entry.get("response"), str):
        yield _single(entry["question"], entry["response"], name, at, answer)
    elif logged := log(entry):
        messages, replies = logged
        for number, reply in enumerate(replies):
            suffix = f"#{number}" if number else ""
            yield Recording(name + suffix, at, (Turn(given_of(messages), reply),), answer, _question(messages))
    elif isinstance(entry.get("messages"), list):
        messages = flat(entry["messages"])
        yield Recording(name, at, _conversation(messages), answer, _question(messages))
    else:
        keys = ", ".join(list(entry)[:6])
        raise Unusable(f"of no known form (keys: {keys})" if keys else "an empty object")


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise Unusable("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise Unusable(f"not JSON ({error.msg})") from None
    except RecursionError:
        raise Unusable("not JSON (nested too deeply)") from None
    if not isinstance(entry, dict):
        raise Unusable("not an object")
    return entry


def _answer(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    return str(value).strip() or None


def _single(question: str, response: str, name: str, at: int, answer: str | None) -> Recording:
    if not response.strip():
        raise Unusable("its response is empty")
    given = given_of([{"role": "user", "content": question}])
    return Recording(name, at, (Turn(given, response),), answer, question)


def _conversation(messages: list[dict[str, Any]]) -> tuple[Turn, ...]:
    """Each assistant message is a turn; all messages since the last one are what it was given."""
    turns = []
    since: list[dict[str, Any]] = []
    for message in messages:
        written = written_of(message) if message["role"] == "assistant" else ""
        if written:
            turns.append(Turn(given_of(since), written))
            since = []
        else:
            since.append(message)
    if not turns:
        raise Unusable("no message of an assistant says anything")
    return tuple(turns)


def _question(messages: list[dict[str, Any]]) -> str:
    asked = [message for message in messages if message["role"] == "user"]
    return str(asked[0]["content"]) if len(asked) == 1 else ""
