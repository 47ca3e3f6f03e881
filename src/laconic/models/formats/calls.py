"""How a family writes calls of tools, which are neither thought nor answer: between tags, or from a tag to the end."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from laconic.models.formats import tags
from laconic.models.formats.format import Format
from laconic.models.formats.template import ANSWER, ASKED, CALL, Template

_NAMED = re.compile(r"tool_?calls?", re.IGNORECASE)
_DATA = re.compile(r"\[?\s*[{\"']|\n")
"""Where the data of a call begin that is written in words of its own."""
_DATA_END = re.compile(r"[}\])\"']")
_PROSE = re.compile(r"[\w\s.,:;()-]*")
"""What an answer may hold too, so that it tells no call."""


def with_calls(form: Format, template: Template) -> Format:
    """The format with what stands around a call in a past turn; as it was where none is shown.

    A call that nothing closes goes on to the end of the turn, whose mark is its ``aside_end`` then.
    """
    plain = template.render([{"role": "user", "content": ASKED}, _turn()], generate=False) or ""
    rendered = False
    for messages in _called() if ANSWER in plain else ():
        text = template.render(messages, generate=False)
        rendered |= text is not None
        if text is None or CALL not in text:
            continue
        written, ended = apart(replied(text, CALL), replied(plain, ANSWER), template.end)
        opens = _opens(written, form)
        closes = opens and (_closes(written, opens) or ended)
        return replace(form, asides=(opens,), aside_end=closes) if closes else form
    return form if rendered else _mentioned(form, template.source)


def _mentioned(form: Format, source: str) -> Format:
    """The format with tags that a template has for calls, of which it renders none; as it was without such tags."""
    for tag in filter(_NAMED.search, tags.all_tags(source)):
        closes = next((partner for partner in tags.partners(tag) if partner in source), "")
        if closes and not tags.is_closing(tag):
            return replace(form, asides=(tag,), aside_end=closes)
    return form


def _turn(content: str | None = ANSWER, **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **fields}


def _called() -> Iterator[list[dict[str, Any]]]:
    """Turns with a call in the ways that templates take one.

    With and without an answer beside it, its arguments as data and as text, and with a reply, which some insist on.
    """
    for reply in (False, True):
        for content in (ANSWER, "", None):
            for arguments in ({"at": "it"}, json.dumps({"at": "it"})):
                call = {"id": "call00001", "type": "function", "function": {"name": CALL, "arguments": arguments}}
                messages = [{"role": "user", "content": ASKED}, _turn(content, tool_calls=[call])]
                if reply:
                    messages.append({"role": "tool", "content": ASKED, "tool_call_id": call["id"], "name": CALL})
                yield messages


def replied(text: str, word: str) -> str:
    """What the template writes behind the question whose reply holds ``word``."""
    return text[text.rfind(ASKED, 0, text.find(word)) + len(ASKED) :]


def _shared(one: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def apart(called: str, plain: str, end_token: str, last_call: str = CALL) -> tuple[str, str]:
    """What a call adds to a plain reply, and the mark behind it that ends the turn. No tag is cut in two."""
    head, _, finish = plain.partition(ANSWER)
    mark = next(iter(tags.all_tags(finish)), finish.strip())
    at = called.find(last_call) + len(last_call)
    if ASKED in called:  # the turn of the call is not the last
        behind = called.find(mark, at) if mark else -1
        called = called[: behind if behind >= 0 else called.find(ASKED)]
    start = _shared(called, plain)
    start = next((s for s, e in tags.spans(called) if s < start < e), start)
    start += called[start:].startswith(ANSWER) * len(ANSWER)
    end = max(at, len(called) - _shared(called[::-1], plain[::-1]))
    end = next((e for s, e in tags.spans(called) if s < end < e), end)
    last = next(reversed(tags.spans(called[at:end])), (0, 0))
    if tags.is_closing(called[at:end][slice(*last)]) and called[at + last[1] : end].isalpha():
        end = next(
            (e for s, e in tags.spans(called) if s == end), end
        )  # a name between two tags, as in the plain reply
    ended = next(iter(tags.all_tags(called[end:])), mark) or end_token
    return _headless(called[start:end].strip().removesuffix(mark), head).strip(), ended


def _headless(written: str, head: str) -> str:
    """A call without the header of its message, where it is one of its own below the answer."""
    for end in sorted((s for s, _ in tags.spans(written)), reverse=True):
        if tags.all_tags(written[:end]) and written[:end].strip() in head:
            return written[end:]
    return written


def _opens(written: str, form: Format) -> str:
    """What begins a call: the tags at its beginning that begin nothing else; empty where prose could be meant."""
    before = written[: written.find(CALL)].rpartition(form.closes)[2].strip()  # an empty thought may stand before it
    others = (form.opens, form.closes, form.answer_end, *form.headers)
    found = tags.spans(before)
    if not found or found[0][0] > 0:
        said = _DATA.split(before, maxsplit=1)[0].rstrip()
        return "" if _PROSE.fullmatch(said) else said
    opens = next((before[:e] for _, e in found if not any(other.startswith(before[:e]) for other in others)), "")
    return "" if tags.is_closing(opens) or tags.is_thought(opens) else opens


def _closes(written: str, opens: str) -> str:
    """What ends a call: the opening's partner, else the tags at its end; empty where it ends with data."""
    behind = written[written.rfind(CALL) + len(CALL) :]
    partner = next((tag for tag in tags.partners(opens) if tag in behind), "")
    if partner:
        return partner
    found = tags.spans(behind)
    if found and found[-1][1] == len(behind):
        return next((behind[s:] for s, _ in reversed(found) if written.count(behind[s:]) == 1), "")
    return "" if tags.all_tags(opens) else _DATA_END.split(behind)[-1].strip()
