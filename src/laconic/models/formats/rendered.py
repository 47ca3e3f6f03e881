"""Formats read back from turns that the chat template renders: a thought and an answer of marked words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from laconic.models.formats import tags
from laconic.models.formats.format import Format
from laconic.models.formats.table import TABLE

ASKED, THOUGHT, ANSWER = "Qzjaskedjq", "Qzjthoughtjq", "Qzjanswerjq"
"""Words that no template holds."""
_CALL = "qzjlook"
_UNSEEN = "?"
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


class Template:
    """A tokenizer's chat template, asked for text. What it refuses is None."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.source = _source(tokenizer)

    def render(self, messages: Sequence[Mapping[str, Any]], *, generate: bool, **keywords: Any) -> str | None:
        """The text of ``messages``. Templates refuse in many ways, by their own errors and by Python's."""
        if not self.source:
            return None
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    list(messages), tokenize=False, add_generation_prompt=generate, **keywords
                )
            )
        except Exception:
            return None

    def prompt(self, keywords: Mapping[str, Any]) -> str | None:
        """The prompt of a question."""
        return self.render([{"role": "user", "content": ASKED}], generate=True, **keywords)

    def added(self, keywords: Mapping[str, Any]) -> str:
        """What asking for a reply adds to a question; what follows the question where that cannot be told apart."""
        whole = self.prompt(keywords)
        plain = self.render([{"role": "user", "content": ASKED}], generate=False, **keywords)
        if whole is None:
            return ""
        if plain is not None and whole.startswith(plain) and whole != plain:
            return whole[len(plain) :]
        return whole[whole.rfind(ASKED) + len(ASKED) :]


def _source(tokenizer: Any) -> str:
    template = tokenizer.chat_template
    if isinstance(template, Mapping):
        template = template.get("default") or next(iter(template.values()), "")
    return str(template or "")


def read_back(template: Template, keywords: Sequence[Mapping[str, Any]] = ()) -> Format | None:
    """The format of a past turn with a thought; None where the template renders none.

    ``keywords`` are those that switch thinking: where the bridge is not seen in a past turn, a prompt may show it.
    """
    found = _past(template)
    if found is not None and found.bridge == _UNSEEN:
        return replace(found, bridge=bridge_after(template, found.closes, keywords))
    return found


def _past(template: Template) -> Format | None:
    for keywords in _KEYWORDS:
        for turn in _turns():
            for follow_up in ([], [{"role": "user", "content": ASKED}]):
                text = template.render(
                    [{"role": "user", "content": ASKED}, turn, *follow_up], generate=False, **keywords
                )
                found = _read(text) if text is not None else None
                if found is not None:
                    return found
    return None


def _turns() -> Iterator[dict[str, Any]]:
    for field in _FIELDS:
        yield {"role": "assistant", "content": ANSWER, field: THOUGHT}
    parts: list[dict[str, Any]] = [{"type": "thinking", "thinking": THOUGHT}, {"type": "text", "text": ANSWER}]
    yield {"role": "assistant", "content": parts}
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}, {"type": "text", "text": ANSWER}]
    yield {"role": "assistant", "content": parts}
    call = {"id": "call00001", "type": "function", "function": {"name": _CALL, "arguments": {"at": "it"}}}
    for field in _FIELDS:
        yield {"role": "assistant", "content": ANSWER, field: THOUGHT, "tool_calls": [call]}


def _read(text: str) -> Format | None:
    start = text.find(THOUGHT)
    end = text.find(ANSWER, start)
    if start < 0 or end < 0 or text.count(THOUGHT) > 1 or text[start - 1 : start] in ('"', "'"):
        return None  # not rendered, or dumped as JSON
    opens, lead = tags.opening(text[:start][text.rfind(ASKED, 0, start) + len(ASKED) :])
    trail, closes, bridge = tags.closing(text[start + len(THOUGHT) : end])
    if not opens or not closes:
        return None
    if _CALL in bridge:  # the answer stands behind the call, so what follows the tag is not seen here
        return Format(opens, closes, _UNSEEN, lead, trail, source="rendered")
    header = bridge.strip()
    answer_end = ""
    if header:
        _, answer_end, _ = tags.closing(text[end + len(ANSWER) :], tags.REPLY)
    return Format(
        opens,
        closes,
        bridge,
        lead,
        trail,
        headers=(header,) if header else (),
        answer_end=answer_end,
        source="rendered",
    )


def from_prompts(template: Template, keywords: Sequence[Mapping[str, Any]]) -> Format | None:
    """The format of an empty thought, or of an opening tag, that the template writes into the prompt of a reply."""
    prompts = [template.added(each) for each in ({}, *keywords)]
    for added in prompts:
        empty = tags.empty_thought(added)
        if empty is not None:
            opens, lead, trail, closes, bridge = empty
            if not bridge.strip():
                return Format(opens, closes, bridge, lead, trail, source="rendered")
    for added in prompts:
        opens, lead = tags.opening(added)
        closes = tags.mirrored(opens)
        if closes:
            return Format(opens, closes, bridge_after(template, closes, keywords), lead, source="rendered")
    return None


def bridge_after(template: Template, closes: str, keywords: Sequence[Mapping[str, Any]]) -> str:
    """White space that the template writes after ``closes``, in a turn without a thought or in a prompt.

    Where it shows neither, what the table says of the tag, else a blank line.
    """
    turn = {"role": "assistant", "content": ANSWER}
    for each in ({}, *keywords):
        text = template.render([{"role": "user", "content": ASKED}, turn], generate=False, **each) or ""
        head = text[: max(text.find(ANSWER), 0)]
        if head.rstrip().endswith(closes):
            return head[len(head.rstrip()) :]
    for each in ({}, *keywords):
        added = template.added(each)
        if added.rstrip().endswith(closes):
            return added[len(added.rstrip()) :]
    return next((entry.bridge for entry in TABLE if entry.closes == closes), "\n\n")
