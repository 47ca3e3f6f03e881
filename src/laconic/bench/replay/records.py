"""Recorded outputs from JSON lines: who was given what, and what was written in reply."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laconic.bench import jsonl
from laconic.bench.replay.chat import Unusable, flat, given_of, is_chunk, joined, log, written_of
from laconic.bench.replay.fields import Fields, conversation
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
    messages: tuple[dict[str, Any], ...] = ()
    """All that was given before the reply, where the model wrote one turn, and that came last; else none."""


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


def read(path: str | Path, limit: int | None = None, fields: Fields | None = None) -> Recordings:
    """The first ``limit`` usable records of a file. Lines that cannot be used are named, and the rest goes on.

    Raises TaskError for a file that cannot be read or has no usable record at all.
    """
    lines = jsonl.lines(path, FORMS)
    records: list[Recording] = []
    problems: list[Problem] = []
    empty = 0
    for at, entry in _streams(jsonl.objects(lines)):
        if limit is not None and len(records) >= limit:
            break
        if entry is None:
            empty += at < len(lines)  # The text after the last line break is no line.
            continue
        try:
            if isinstance(entry, jsonl.BadLine):
                raise Unusable(str(entry))
            records += recordings(entry, at, Path(path).stem, fields or Fields())
        except Unusable as error:
            problems.append(Problem(at, str(error)))
    if not records:
        first = f" Line {problems[0].line}: {problems[0].reason}." if problems else ""
        raise TaskError(f"'{path}' has no usable record.{first}", FORMS)
    return Recordings(str(path), tuple(records[:limit]), tuple(problems), empty)


Found = dict[str, Any] | jsonl.BadLine | None


def entries(path: str | Path) -> Iterator[tuple[int, Found]]:
    """The objects of a file with their lines, as :func:`jsonl.streamed` reads them; a stream's chunks are joined."""
    return _streams(jsonl.streamed(path, FORMS))


def _streams(found: Iterator[tuple[int, Found]]) -> Iterator[tuple[int, Found]]:
    """The same, with the chunks of one stream in a row as the one reply that they make up."""
    chunks: list[dict[str, Any]] = []
    begun = 0
    for at, entry in found:
        chunk = isinstance(entry, dict) and is_chunk(entry)
        if chunks and not (entry is None or (chunk and entry.get("id") == chunks[0].get("id"))):  # type: ignore[union-attr]
            yield begun, _whole(chunks)
            chunks = []
        if chunk and isinstance(entry, dict):
            begun = begun if chunks else at
            chunks.append(entry)
        elif not (chunks and entry is None):
            yield at, entry
    if chunks:
        yield begun, _whole(chunks)


def _whole(chunks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"id": chunks[0].get("id"), "response": joined(chunks)}


def recordings(entry: dict[str, Any], at: int, stem: str, fields: Fields) -> Iterator[Recording]:
    """The records of one line: one, or as many as it has replies. Raises Unusable."""
    named = entry.get("id", entry.get("custom_id"))
    name = str(named) if isinstance(named, (str, int)) and str(named) else f"{stem}/{at}"
    answer = fields.right(entry)
    logged = None if fields.response else log(entry)
    messages = conversation(entry)
    single = None if logged or (messages and not fields.response) else fields.single(entry)
    if logged:
        for number, (given, reply) in enumerate(logged):
            turn = Turn(given_of(given), reply)
            yield Recording(_numbered(name, number), at, (turn,), answer, _question(given), tuple(given))
    elif single:
        for number, response in enumerate(single[1]):
            yield _single(single[0], response, _numbered(name, number), at, answer)
    elif messages is not None:
        said = flat(messages)
        alone = said[-1]["role"] == "assistant" and all(m["role"] != "assistant" for m in said[:-1])
        before = tuple(said[:-1]) if alone else ()
        yield Recording(name, at, _conversation(said), answer, _question(said), before)
    else:
        keys = ", ".join(list(entry)[:6])
        raise Unusable(f"of no known form (keys: {keys})" if keys else "an empty object")


def _numbered(name: str, number: int) -> str:
    return f"{name}#{number}" if number else name


def _single(question: str, response: str, name: str, at: int, answer: str | None) -> Recording:
    if not response.strip():
        raise Unusable("its response is empty")
    messages = ({"role": "user", "content": question},)
    return Recording(name, at, (Turn(given_of(messages), response),), answer, question, messages)


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
