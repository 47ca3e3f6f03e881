"""One call of marked words in a turn that a chat template has rendered, and the way in which it is written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from laconic.models.formats import tags
from laconic.models.formats.syntax.bodies import Named, Python, Relaxed, Whole
from laconic.models.formats.syntax.form import Body
from laconic.models.formats.syntax.literal import WILD, Broken, Literal
from laconic.models.formats.syntax.marked import Keyed, Tagged
from laconic.models.formats.syntax.values import decoded
from laconic.models.formats.template import CALL

OTHER, KEY, KEY_2, VALUE, NUMBER = "qzjfind", "qzjat", "qzjto", "qzjit", 70717
"""Words that no template holds: another tool, two arguments and their values."""
CALLS: tuple[tuple[str, dict[str, Any]], ...] = (
    (CALL, {KEY: VALUE, KEY_2: NUMBER}),
    (OTHER, {KEY: VALUE, KEY_2: NUMBER}),
)
IDS = ("call00001", "call00002")


class Core(NamedTuple):
    """One call in a rendered turn, and where it begins and ends there."""

    start: int
    end: int
    body: Body
    lead: str = ""
    """What its arguments begin with, where they stand behind the name."""


def without_ids(text: str) -> str:
    """A text in which anything may stand where an id of a call does."""
    for id in IDS:
        text = text.replace(id, WILD)
    return text


def find_core(written: str, name: str) -> Core | None:
    """The call of ``name`` in a rendered turn, in the first of the known ways in which it can be read."""
    for find in (_whole, _named, _python, _relaxed, _keyed, _tagged):
        core = find(written, name)
        if core is not None:
            return core
    return None


def _arguments(value: Any) -> bool:
    return isinstance(value, dict) and value == CALLS[0][1]


def _objects(text: str) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Every JSON object in a text, outer ones first."""
    for match in re.finditer(r"\{", text):
        try:
            value, end = decoded(text, match.start())
        except Broken:
            continue
        if isinstance(value, dict):
            yield match.start(), end, value


def _whole(written: str, name: str) -> Core | None:
    for start, end, value in _objects(written):
        if len(value) == 1 and _arguments(value.get(name)):
            return Core(start, end, Whole((), ()))
        paths = {kind: path for path, each in _paths(value) for kind in _kinds(each, name)}
        if "name" in paths and "arguments" in paths:
            return Core(start, end, Whole(paths["name"], paths["arguments"]))
    return None


def _paths(value: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, each in value.items() if isinstance(value, dict) else ():
        yield (*above, key), each
        if not _arguments(each):
            yield from _paths(each, (*above, key))


def _kinds(value: Any, name: str) -> list[str]:
    if value == name:
        return ["name"]
    if _arguments(value):
        return ["arguments"]
    return ["arguments"] if isinstance(value, str) and value.startswith("{") and KEY in value else []


def _named(written: str, name: str) -> Core | None:
    for start, end, value in _objects(written):
        at = written.rfind(name, 0, start)
        if _arguments(value) and at >= 0:
            return Core(at, end, Named(Literal.of(without_ids(written[at + len(name) : start]))), "{")
    return None


def _python(written: str, name: str) -> Core | None:
    at = written.find(f"{name}(")
    try:
        call, end = Python().read(written, at, {}, ()) if at >= 0 else (None, 0)
    except Broken:
        return None
    return Core(at, end, Python()) if call is not None and _arguments(json.loads(call.arguments)) else None


def _relaxed(written: str, name: str) -> Core | None:
    found = re.search(rf"{name}\{{{KEY}:(\S{{1,16}}?){VALUE}\1,", written)
    if found is None:
        return None
    body = Relaxed(found.group(1))
    try:
        call, end = body.read(written, found.start(), {}, ())
    except Broken:
        return None
    return Core(found.start(), end, body) if _arguments(json.loads(call.arguments)) else None


def _tagged(written: str, name: str) -> Core | None:
    marks = [written.find(KEY, max(written.find(name), 0))]
    for word in (VALUE, KEY_2, str(NUMBER)):
        marks.append(written.find(word, max(marks[-1], 0)))
    at = written.rfind(name, 0, max(marks[0], 0))
    if at < 0 or min(marks) < 0:
        return None
    key, value, key_2, number = marks
    behind = (written[value + len(VALUE) : key_2], written[number + len(str(NUMBER)) :])
    ends = _to_a_tag(behind[0][: _shared(*behind)])
    begins, first = behind[0][len(ends) :].strip(), written[at + len(name) : key]
    if not ends or not begins or not first.strip().endswith(begins):
        return None
    parts = (written[key + len(KEY) : value], written[key_2 + len(KEY_2) : number])
    between, text = _told(*parts)
    before = between[-1][len(between[-1].rstrip()) :]
    between = (*between[:-1], between[-1].rstrip()) if between[-1].strip() else between
    body = Tagged(
        middle=Literal.of(without_ids(first.partition(begins)[0])),
        begins=Literal.of(begins),
        parts=between,
        ends=Literal.of(ends),
        before=before,
        after=ends[: len(ends) - len(ends.lstrip())],
        text=text,
    )
    return Core(at, number + len(str(NUMBER)) + len(ends), body, begins)


def _keyed(written: str, name: str) -> Core | None:
    found = re.search(rf"<{KEY}>{VALUE}(\S*?)</{KEY}>", written[max(written.find(name), 0) :])
    at = written.find(name)
    if found is None or at < 0:
        return None
    first, last = f"{found.group(1)}<{KEY}>", f"{found.group(1)}</{KEY_2}>"
    middle, end = written[at + len(name) :].partition(first)[0], written.find(last, at)
    return Core(at, end + len(last), Keyed(Literal.of(middle), found.group(1)), first) if end >= 0 else None


def _to_a_tag(text: str) -> str:
    """A text up to the end of its last tag."""
    return text[: next((end for _, end in reversed(tags.spans(text))), 0)]


def _shared(one: str, other: str) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _told(of_text: str, of_number: str) -> tuple[tuple[str, ...], str]:
    """What stands between a key and its value, and the word in it that says of a text that it is one."""
    if of_text == of_number:
        return (of_text,), ""
    start, rest = _shared(of_text, of_number), _shared(of_text[::-1], of_number[::-1])
    while start and of_text[start - 1].isalnum():
        start -= 1
    while rest and of_text[len(of_text) - rest].isalnum():
        rest -= 1
    end = len(of_text) - rest
    return (of_text[:start], of_text[end:]), of_text[start:end]
