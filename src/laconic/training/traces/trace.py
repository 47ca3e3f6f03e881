"""A recorded reply as thought and answer, and the question that it belongs to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from laconic.bench.replay import thoughts
from laconic.models.formats import Format
from laconic.models.formats.messages import messages as apart
from laconic.models.formats.table import HARMONY

_BLANK = re.compile(r"\n[ \t\r]*\n\s*")
"""What parts steps, as controllers see them: a blank line, which may hold white space."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a recorded probe found: the ``answer`` that the thought would have given after ``chars`` of its text.

    An answer that was not written to its end is empty.
    """

    chars: int
    answer: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A question as chat messages. ``answer`` is the right one, None where the records do not bring it."""

    id: str
    messages: tuple[Mapping[str, Any], ...]
    answer: str | None = None

    @property
    def question(self) -> str:
        """The last message of the user."""
        return next((str(m["content"]) for m in reversed(self.messages) if m.get("role") == "user"), "")


@dataclass(frozen=True)
class Trace:
    """A recorded reply. ``tokens`` are those of the whole reply, as the model that shall be trained would write it.

    ``answer`` is what the reply settles on, empty for none, and ``right`` whether it is the right one; None where
    nobody knows: without a right answer, or where the reply's cannot be read. ``label`` says which of several
    recordings it comes from, ``where`` its file and line.
    """

    id: str
    thought: str
    reply: str
    tokens: int
    answer: str = ""
    right: bool | None = None
    label: str = ""
    where: str = ""
    looks: tuple[Look, ...] = ()

    @cached_property
    def steps(self) -> Steps:
        """The steps of the thought."""
        return Steps.of(self.thought)


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of a text, and where each begins and ends in it, in characters."""

    text: str
    spans: tuple[tuple[int, int], ...]

    @staticmethod
    def of(text: str) -> Steps:
        """Steps are parted by blank lines.

        >>> Steps.of("A.\\n\\nB,\\nc.\\n \\n\\nD").texts
        ['A.', 'B,\\nc.', 'D']
        """
        spans, start = [], 0
        for begin, end in [*(found.span() for found in _BLANK.finditer(text)), (len(text), len(text))]:
            inner = text[start:begin]
            if inner.strip():
                left = start + len(inner) - len(inner.lstrip())
                spans.append((left, start + len(inner.rstrip())))
            start = end
        return Steps(text, tuple(spans))

    def __len__(self) -> int:
        return len(self.spans)

    @property
    def texts(self) -> list[str]:
        """Each step's text."""
        return [self.text[begin:end] for begin, end in self.spans]

    def upto(self, count: int) -> str:
        """The text up to the end of the first ``count`` steps."""
        return self.text[: self.spans[count - 1][1]] if count else ""

    def done(self, chars: int) -> int:
        """How many steps have ended within the first ``chars`` characters."""
        return sum(end <= chars for _, end in self.spans)


def parts(written: str, form: Format, ends: tuple[str, ...]) -> tuple[str, str] | None:
    """Thought and reply of a written text; None where the thought was cut off.

    It may be written as ``form`` says, in any format that laconic knows, or without tags: then its last step is the
    reply and all before it is the thought. ``ends`` are texts that end a reply and are no part of it.
    """
    text = _without(written, ends)
    if HARMONY.opens in text or HARMONY.headers[0] in text:
        thought, reply = apart(HARMONY, text, opened=False)
        return (thought.strip(), _without(reply, ends)) if HARMONY.headers[0] in text else None
    if form.thinks and not form.turn and form.closes in text:
        before, _, reply = text.rpartition(form.closes)  # an answer that is taken back was thought
        found = (before.partition(form.opens)[2] if form.opens in before else before).replace(form.closes, "")
        return (found.strip(), _bare(reply, form)) if reply.strip() else None
    split = thoughts.split(text)
    if split is not None:
        return (split[0].strip(), split[1].strip()) if split[1].strip() else None
    if form.thinks and text.lstrip().startswith(form.opens):
        return None
    steps = Steps.of(text)
    return (steps.upto(len(steps) - 1), steps.texts[-1]) if len(steps) else None


def _bare(reply: str, form: Format) -> str:
    """A reply without the header and the end that its format gives an answer."""
    reply = reply.strip()
    for header in form.headers:
        reply = reply.removeprefix(header)
    return (reply.partition(form.answer_end)[0] if form.answer_end else reply).strip()


def _without(text: str, ends: tuple[str, ...]) -> str:
    text = text.strip()
    while end := next((end for end in ends if end and text.endswith(end)), ""):
        text = text[: -len(end)].rstrip()
    return text
