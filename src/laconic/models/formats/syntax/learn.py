"""The syntax of calls, read off turns with calls of marked words that the chat template renders."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import dropwhile
from typing import Any, NamedTuple

from laconic.models.formats.calls import apart, replied
from laconic.models.formats.format import Format
from laconic.models.formats.syntax.bodies import Named, Whole
from laconic.models.formats.syntax.cores import CALLS, IDS, OTHER, Core, find_core, without_ids
from laconic.models.formats.syntax.form import Syntax
from laconic.models.formats.syntax.literal import WILD, Broken, Literal
from laconic.models.formats.syntax.marked import Keyed, Tagged
from laconic.models.formats.template import ANSWER, ASKED, CALL, Template

_TOOL = {"name": "qzjtool", "description": "x", "parameters": {"type": "object", "properties": {}}}
_NUMBERS = re.compile(r"\d+")
_DISTINCT = re.compile(r"[<|◁]|^\[[A-Z_]+\]|^```")
"""What a text holds that is no prose."""
_MARK = "<|python_tag|>"
_EXAMPLE = re.compile(
    r"(<[^<>\s/\\]+>)[\s\\n]*\{\\*\"name\\*\": *<[^{}]{1,60}?\\*\"(arguments|parameters)\\*\": *<[^{}<>]{1,60}>\}"
    r"[\s\\n]*(</[^<>\s\\]+>)"
)
"""A call that a template shows to the model: ``<tag>{"name": <...>, "arguments": <...>}</tag>``."""


def learn(template: Template, form: Format) -> Syntax | None:
    """The syntax in which ``template`` writes calls; None where it shows none in a way that is known here."""
    for keywords in ({}, {"tools": [{"type": "function", "function": _TOOL}]}):
        turn = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWER}]
        plain = template.render(turn, generate=False, **keywords) or ANSWER
        for way in _ways():
            one = _written(template, CALLS[:1], way, keywords, plain)
            core = find_core(one, CALL) if one else None
            if core is not None:
                two = _written(template, CALLS, way, keywords, plain)
                return _syntax(one, core, two, form, template)
    return _said(template.source)


def _said(source: str) -> Syntax | None:
    """The syntax of a call as JSON between tags, which a template asks for in words where it renders no call."""
    found = _EXAMPLE.search(source)
    if found is None:
        return None
    opens, key, closes = found.groups()
    return Syntax(Literal.of(opens), None, Literal.of(closes), Whole(("name",), (key,)))


class _Way(NamedTuple):
    """One of the ways in which templates take a call."""

    reply: bool
    content: str | None
    text: bool


def _ways() -> Iterator[_Way]:
    for reply in (False, True):
        for content in (ANSWER, "", None):
            for text in (False, True):
                yield _Way(reply, content, text)


def _written(
    template: Template,
    calls: Sequence[tuple[str, dict[str, Any]]],
    way: _Way,
    keywords: Mapping[str, Any],
    plain: str,
) -> str:
    """What a turn with these calls adds to one without; empty where the template refuses it, or leaves it out."""
    asked = [
        {"id": id, "type": "function", "function": {"name": name, "arguments": json.dumps(a) if way.text else a}}
        for id, (name, a) in zip(IDS, calls, strict=False)
    ]
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": ASKED},
        {"role": "assistant", "content": way.content, "tool_calls": asked},
    ]
    if way.reply:
        messages += [{"role": "tool", "content": ASKED, "tool_call_id": c["id"], "name": CALL} for c in asked]
    text = template.render(messages, generate=False, **keywords)
    if text is None or not all(name in text for name, _ in calls):
        return ""
    return apart(replied(text, CALL), replied(plain, ANSWER), template.end, calls[-1][0])[0]


def _alike(one: str, other: str) -> str:
    """A text as a pattern of both: what differs in numbers alone is wild."""
    one, other = without_ids(one), without_ids(other)
    return one if one == other or _NUMBERS.sub("0", one) != _NUMBERS.sub("0", other) else _NUMBERS.sub(WILD, one)


def _syntax(one: str, core: Core, two: str, form: Format, template: Template) -> Syntax | None:
    """The syntax around a call that was found; None where it does not read that very turn."""
    opens = one[: core.start].rpartition(form.closes)[2] if form.closes else one[: core.start]
    joins, body = None, core.body
    first, other = find_core(two, CALL), find_core(two, OTHER)
    if first is not None and other is not None and first.end <= other.start:
        joins = Literal.of(without_ids(two[first.end : other.start].replace(OTHER, WILD)))
        if isinstance(body, Named | Tagged | Keyed):
            middles = (two[first.start + len(CALL) : first.end], two[other.start + len(OTHER) : other.end])
            body = replace(body, middle=Literal.of(_alike(*(text.partition(core.lead)[0] for text in middles))))
    opens = opens.rpartition(ANSWER)[2]
    begins = Literal.of(without_ids(opens.replace(CALL, WILD))).behind(Literal.of(template.added({})))
    if form.turn:  # the message's header goes before the calls
        begins = Literal(tuple(dropwhile(lambda part: not _DISTINCT.search(part), begins.parts)))
    loose = not _DISTINCT.search(begins.trigger)
    mark = _MARK if not begins.parts and _MARK in template.source else ""
    found = Syntax(begins, joins, Literal.of(one[core.end :].partition(ANSWER)[0]), body, loose, mark)
    return found if _reads(found, one, CALLS[:1]) and (joins is None or _reads(found, two, CALLS)) else None


def _reads(syntax: Syntax, text: str, calls: Sequence[tuple[str, dict[str, Any]]]) -> bool:
    """Whether a syntax finds the calls that a turn was made of."""
    known: dict[str, dict[str, Any]] = {name: {} for name, _ in calls}
    found: list[tuple[str, dict[str, Any]]] = []
    at = min((at for each in syntax.triggers if (at := text.find(each)) >= 0), default=0)
    try:
        while at >= 0 and len(found) < len(calls):
            section = syntax.read(text, at, known, final=True)
            found += [(call.name, json.loads(call.arguments)) for call in section.calls]
            at = text.find(syntax.triggers[0], section.end) if syntax.triggers else -1
    except Broken:
        return False
    return found == list(calls)
