"""Chat messages as the text of a prompt: what they may hold, how thinking is switched, where the reply begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from laconic.errors import RequestError
from laconic.models.formats import Format
from laconic.models.formats.phase import begins
from laconic.models.formats.switches import Switch
from laconic.models.formats.template import Template

Message = Mapping[str, Any]
_TAIL = 64
"""Characters of a prompt that are looked at where what a template adds cannot be told from what was there."""


class Asked(NamedTuple):
    """A prompt's text, and the part of it that begins the reply: what the template adds after the last message.

    ``begun`` says that the last message is a reply already, which is written on.
    """

    text: str
    added: str
    begun: bool = False

    def phase(self, format: Format) -> str:
        """The phase in which the reply goes on."""
        phase = begins(self.added, format)
        return "answer" if self.begun and phase == "before" else phase


_PARTS = ("text", "input_text", "output_text")
"""Types of parts that are text, by the names of both of OpenAI's interfaces."""
_SEVERAL = "A prompt is a text, or a list of messages; generate_many takes several prompts."


def plain(prompt: str | Sequence[Message]) -> list[dict[str, Any]]:
    """A question or chat messages, every content one text.

    Raises RequestError for an empty one, for parts other than text, and for what is neither a text nor messages.
    """
    given = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(m) for m in _messages(prompt)]
    messages = [{**message, "content": _text(message.get("content"))} for message in given]
    if messages and all(message["content"] is None for message in messages):
        raise RequestError("the prompt has no content: that of every message is None.", "Ask something.")
    if not any(str(message["content"] or "").strip() for message in messages):
        raise RequestError("the prompt is empty.", "Ask something.")
    return messages


def _messages(prompt: Any) -> Sequence[Message]:
    """What was given for messages, if it is. Raises RequestError."""
    if isinstance(prompt, Mapping):
        raise RequestError("the prompt is one message, not a list of them.", "Put it in a list: [message].")
    if not isinstance(prompt, Sequence) or isinstance(prompt, bytes | bytearray):
        raise RequestError(f"the prompt is {_kind(prompt)}, neither a text nor messages.", _SEVERAL)
    odd = next((message for message in prompt if not isinstance(message, Mapping)), None)
    if odd is not None or None in prompt:
        raise RequestError(f"the prompt is a list that holds {_kind(odd)}, which is no message.", _SEVERAL)
    nameless = next((message for message in prompt if not isinstance(message.get("role"), str)), None)
    if nameless is not None:
        raise RequestError("a message says no role.", "A message is {'role': 'user', 'content': 'Why?'}.")
    return prompt


def _kind(value: Any) -> str:
    return "None" if value is None else f"something of type {type(value).__name__!r}"


def _text(content: Any) -> str | None:
    if content is None or isinstance(content, str):
        return content
    parts = content if isinstance(content, Sequence) else [content]
    return "".join(map(_part, parts))


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping) and part.get("type") in _PARTS and isinstance(part.get("text"), str):
        return str(part["text"])
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    raise RequestError(f"a message holds a part of type {kind!r}.", "Only text can be asked here.")


class Chat:
    """A tokenizer's chat template with its format. Without a template, messages are lines of text."""

    def __init__(self, tokenizer: Any, format: Format) -> None:
        self._tokenizer = tokenizer
        self._format = format
        self._template = Template(tokenizer).stopped()

    def ask(
        self,
        messages: Sequence[Message],
        *,
        thinking: bool,
        effort: str = "",
        keywords: Mapping[str, Any] | None = None,
    ) -> Asked:
        """The prompt of ``messages``; ``keywords`` go to the template and before what switches say.

        Where thinking is unwanted and the template knows no switch, an empty thought is written. Raises RequestError
        with the template's words where it refuses, and where thinking cannot be switched off.
        """
        if not self._template.source:
            text = "\n".join(str(message["content"]) for message in messages)
            return Asked(text, text) if thinking else self._without(Asked(text, text))
        form, messages = self._format, [self._past(message) for message in messages]
        if not thinking and form.switch is not None and form.switch.said:
            messages = _saying(messages, form.switch.off)
        level = form.effort.keywords(effort) if form.effort is not None and effort else None
        said = {**(level or {}), **(keywords or {})}
        chosen = {**said, **self._switched(messages, form.switch, thinking, said), **(keywords or {})}
        asked = self._asked(messages, chosen)
        switched = form.switch is not None and (form.switch.said or form.switch.keyword in chosen)
        if thinking or (switched and asked.phase(form) != "thinking"):
            return asked
        return self._without(asked)

    def _past(self, message: Message) -> Message:
        """A past turn of the model, with a thought that stands in its text as the model wrote it in a field of its own.

        Templates whose thoughts are messages of their own take them no other way.
        """
        form, content = self._format, message.get("content")
        if message.get("role") != "assistant" or not form.turn or not isinstance(content, str):
            return message
        if form.opens not in content or form.closes not in content:
            return message
        before, _, answer = content.rpartition(form.closes)
        return {**message, "content": answer, "reasoning_content": before.partition(form.opens)[2]}

    def _switched(
        self, messages: Sequence[Message], switch: Switch | None, thinking: bool, keywords: Mapping[str, Any]
    ) -> dict[str, Any]:
        if switch is None or switch.said:
            return {}
        if not thinking:
            return {switch.keyword: switch.off}
        if isinstance(switch.on, bool):
            return {switch.keyword: switch.on}
        if switch.keyword in keywords:  # a level that was asked for
            return {}
        # A level or a budget is left alone where the template thinks without being told to.
        plain = self._template.prompt(keywords)
        told = (
            plain is None  # it insists on the keyword
            or plain == self._template.prompt({switch.keyword: switch.off, **keywords})
            or self._asked(messages, keywords).phase(self._format) == "answer"
        )
        return {switch.keyword: switch.on} if told else {}

    def _without(self, asked: Asked) -> Asked:
        """The prompt with an empty thought."""
        form = self._format
        if not form.thinks:
            if form.reason:
                raise RequestError(
                    f"thinking cannot be switched off: {form.reason}",
                    "Say how the model writes with format= (--format), or pass the template's own keyword (-T).",
                )
            return asked
        if asked.phase(form) == "answer":
            return asked
        empty = form.empty(asked.phase(form) == "thinking")
        return Asked(asked.text + empty, asked.added + empty)

    def _asked(self, messages: Sequence[Message], keywords: Mapping[str, Any]) -> Asked:
        last = str(messages[-1].get("content") or "")
        if messages[-1].get("role") == "assistant":  # a turn that was begun is written on
            whole = self._render(messages, keywords, continue_final_message=True)
            return Asked(whole, last, begun=True) if last.strip() else Asked(whole, whole[-_TAIL:])
        whole = self._render(messages, keywords, add_generation_prompt=True)
        before = self._render(messages, keywords, add_generation_prompt=False)
        if whole.startswith(before) and whole != before:
            return Asked(whole, whole[len(before) :])
        at = whole.rfind(last) if last else -1
        return Asked(whole, whole[at + len(last) :] if at >= 0 else whole[-_TAIL:])

    def _render(self, messages: Sequence[Message], keywords: Mapping[str, Any], **how: Any) -> str:
        try:
            return str(self._tokenizer.apply_chat_template(list(messages), tokenize=False, **{**keywords, **how}))
        except Exception as error:  # templates raise jinja's errors and Python's own, whatever they come upon
            raise RequestError(
                f"the chat template refuses these messages: {error or type(error).__name__}.",
                "Change the messages, or the template's keywords.",
            ) from error


def _saying(messages: Sequence[Message], text: str) -> list[Message]:
    """The messages with ``text`` among the system's words."""
    if messages[0].get("role") != "system":
        return [{"role": "system", "content": text}, *messages]
    return [{**messages[0], "content": f"{messages[0]['content']}\n{text}"}, *messages[1:]]
