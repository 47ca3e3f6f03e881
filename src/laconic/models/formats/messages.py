"""Replies whose thought, answer and calls of tools are messages of their own, each with a header (gpt-oss)."""

from __future__ import annotations

from laconic.models.formats.format import Format


def messages(form: Format, text: str, *, opened: bool) -> tuple[str, str]:
    """Thought and answer of a reply; ``opened`` says that the prompt has opened the thought.

    Thoughts are joined. A reply without an answer has its asides in the answer's place, as they were written.
    """
    thoughts: list[str] = []
    asides: list[str] = []
    answer: str | None = None
    ended = form.message_end + form.turn
    for message in (form.opens * opened + text).removeprefix(form.turn).split(ended):
        begun = message.lstrip()
        part = form.part(begun)
        if part == "thinking":
            thoughts.append(begun.removeprefix(form.opens).removesuffix(form.message_end).strip())
        elif part == "answer":
            answer = _body(form, begun)
        elif part == "aside":
            asides.append(begun.removesuffix(form.message_end).strip())
    return "\n\n".join(thoughts), "\n\n".join(asides) if answer is None else answer


def _body(form: Format, message: str) -> str:
    header = next(header for header in form.headers if message.startswith(header))
    body = message[len(header) :]
    if form.header_end:
        body = body.partition(form.header_end)[2]
    body = body.removesuffix(form.message_end)
    return (body.partition(form.answer_end)[0] if form.answer_end else body).strip()
