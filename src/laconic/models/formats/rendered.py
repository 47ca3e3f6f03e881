"""Formats read back from turns that the chat template renders: a thought and an answer of marked words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from laconic.models.formats import tags
from laconic.models.formats.bridge import UNSEEN, bridged, headed
from laconic.models.formats.format import Format
from laconic.models.formats.switches import WORDS
from laconic.models.formats.template import ANSWER, ASKED, CALL, THOUGHT, Template

_FIELDS = ("reasoning_content", "reasoning", "thinking")
_KEYWORDS: tuple[dict[str, Any], ...] = (
    {},
    {"enable_thinking": True},
    {"thinking": True},
    {"reasoning": True},
    {"reasoning_effort": "high"},
    {"thinking_mode": "enabled"},
    {"preserve_thinking": True},
    {"clear_thinking": False},
    {"keep_past_thinking": True},
    {"enable_thinking": True, "preserve_thinking": True},
)
"""Keywords under which templates render past thoughts that they leave out otherwise."""


def read_back(template: Template, keywords: Sequence[Mapping[str, Any]] = ()) -> Format | None:
    """The format of a past turn with a thought, be it an empty one; None where the template renders none.

    ``keywords`` are those that switch thinking: where the bridge is not seen in a past turn, a prompt may show it.
    """
    found = _past(template) or _empty(template)
    if found is not None and found.bridge == UNSEEN:
        return bridged(replace(found, bridge=""), template, keywords)
    return found


def _past(template: Template) -> Format | None:
    turn = template.added({}).strip()
    for keywords in _KEYWORDS:
        for message in _turns():
            for follow_up in ([], [{"role": "user", "content": ASKED}]):
                text = template.render(
                    [{"role": "user", "content": ASKED}, message, *follow_up], generate=False, **keywords
                )
                found = _read(text, turn) if text is not None else None
                if found is not None:
                    return found
    return None


def _empty(template: Template) -> Format | None:
    """The format of the empty thought that some templates put before each past answer."""
    text = template.render(
        [{"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWER}], generate=False
    )
    if text is None or ANSWER not in text:
        return None
    empty = tags.empty_thought(text[text.rfind(ASKED) + len(ASKED) : text.find(ANSWER)])
    if empty is None:
        return None
    opens, lead, trail, closes, bridge = empty
    found = Format(opens, closes, bridge, lead, trail, source="rendered")
    return found if not bridge.strip() else headed(found, closes + bridge)


def _turns() -> Iterator[dict[str, Any]]:
    """Past turns with a thought in each way that templates take one."""
    for field in _FIELDS:
        yield {"role": "assistant", "content": ANSWER, field: THOUGHT}
    parts: list[dict[str, Any]] = [{"type": "thinking", "thinking": THOUGHT}, {"type": "text", "text": ANSWER}]
    yield {"role": "assistant", "content": parts}
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}, {"type": "text", "text": ANSWER}]
    yield {"role": "assistant", "content": parts}
    call = {"id": "call00001", "type": "function", "function": {"name": CALL, "arguments": {"at": "it"}}}
    for field in _FIELDS:
        yield {"role": "assistant", "content": ANSWER, field: THOUGHT, "tool_calls": [call]}


def _read(text: str, turn: str) -> Format | None:
    start = text.find(THOUGHT)
    end = text.find(ANSWER, start)
    if start < 0 or end < 0 or text.count(THOUGHT) > 1 or text[start - 1 : start] in ('"', "'"):
        return None  # not rendered, or dumped as JSON
    before = text[:start][text.rfind(ASKED, 0, start) + len(ASKED) :]
    between = text[start + len(THOUGHT) : end]
    if turn and turn in between and turn in before:
        return _messages(before, between, text[end + len(ANSWER) :], turn)
    opens, lead = tags.opening(before)
    trail, closes, bridge = tags.closing(between)
    if not opens or not closes:
        return None
    if CALL in bridge:  # the answer stands behind the call, so what follows the tag is not seen here
        return Format(opens, closes, UNSEEN, lead, trail, source="rendered")
    header = bridge.strip()
    _, answer_end, _ = tags.closing(text[end + len(ANSWER) :], tags.REPLY) if header else ("", "", "")
    headers = (header,) if header else ()
    return Format(opens, closes, bridge, lead, trail, headers=headers, answer_end=answer_end, source="rendered")


def _messages(before: str, between: str, after: str, turn: str) -> Format | None:
    """The format where thought and answer are messages of their own, each begun with what a prompt ends with."""
    opens = before[before.rfind(turn) + len(turn) :]
    closes = between.strip()
    _, answer_end, _ = tags.closing(after)
    if not opens.strip() or closes.startswith(turn):
        return None
    return Format(
        opens.strip(),
        closes,
        bridge="",
        lead=opens[len(opens.rstrip()) :],
        trail=between[: len(between) - len(between.lstrip())],
        headers=(closes.rpartition(turn)[2].strip(),),
        answer_end=answer_end,
        turn=turn,
        source="rendered",
    )


def from_prompts(template: Template, keywords: Sequence[Mapping[str, Any]]) -> Format | None:
    """The format of an empty thought, or of an opening tag, that the template writes into the prompt of a reply."""
    prompts = [template.added(each) for each in ({}, *keywords)] + [template.added({}, word) for word in WORDS]
    for added in prompts:
        empty = tags.empty_thought(added)
        if empty is not None:
            opens, lead, trail, closes, bridge = empty
            found = Format(opens, closes, bridge, lead, trail, source="rendered")
            if bridge.strip():
                if with_header := headed(found, added):
                    return with_header
                continue
            # A prompt that ends right behind the tag shows no white space, unless the family writes none at all.
            return found if bridge else bridged(found, template, keywords, otherwise=None if lead + trail else "")
    for added in prompts:
        opens, lead = tags.opening(added)
        closes = tags.mirrored(opens)
        if closes:
            return bridged(Format(opens, closes, lead=lead, source="rendered"), template, keywords)
    return None
