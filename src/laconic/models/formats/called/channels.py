"""Replies in messages of their own (gpt-oss), taken apart as they come."""

from __future__ import annotations

import re

from laconic.models.formats.called.pieces import Piece, Thought, Words, held
from laconic.models.formats.format import Format, Part
from laconic.models.formats.syntax.call import Call, as_object
from laconic.models.formats.syntax.literal import Broken
from laconic.models.formats.syntax.values import Schemas

_RECIPIENT = re.compile(r"to=(?:functions\.)?([\w.\-/]+)")


class Channels:
    """Reads messages: thoughts, answers, and asides, which are calls if they name whom they are for.

    What is said to the user beside calls (gpt-oss: commentary without a recipient) is content; messages of content are
    parted by a blank line.
    """

    def __init__(self, form: Format, known: Schemas, begins: str) -> None:
        self._form, self._known = form, known
        self._text = form.opens if begins == "thinking" else ""
        self._part: Part | None = None
        self._bare = begins == "answer"
        """Whether the prompt may have written the header of the answer already."""
        self._words = Words()
        self.broken = 0

    def push(self, text: str) -> list[Piece]:
        """What is certain now that ``text`` has come."""
        self._text += text
        return self._read(final=False)

    def finish(self) -> list[Piece]:
        """What was held back, now that the reply is over."""
        return self._read(final=True)

    def _read(self, final: bool) -> list[Piece]:
        pieces: list[Piece] = []
        before = ""
        while before != (before := f"{self._part}{len(self._text)}"):
            pieces += self._body(final) if self._part else self._header(final)
        return pieces

    def _header(self, final: bool) -> list[Piece]:
        """Which message begins; what its header says is left out, but for that of an aside."""
        form = self._form
        begun = self._text.lstrip()
        if form.turn.startswith(begun) and not final:
            return []
        begun = begun.removeprefix(form.turn).lstrip()
        if self._bare:
            calls = form.calls.triggers if form.calls is not None else ()
            known = (form.turn, form.opens, *form.headers, *form.asides, "to=", *calls)
            if not any(begun.startswith(each) or each.startswith(begun) for each in known):
                self._part, self._bare = "answer", False
                return []
        part = form.part(begun)
        if part is None:
            return []
        self._part, self._bare = part, False
        if part == "thinking":
            begun = begun.removeprefix(form.opens)
        elif part == "answer":
            header = next(header for header in form.headers if begun.startswith(header))
            begun = begun.removeprefix(header)
            begun = begun.partition(form.header_end)[2] if form.header_end else begun
            self._part_from_the_last()
        self._text = begun
        return []

    def _part_from_the_last(self) -> None:
        if self._words.begun:
            self._words.say("\n\n")

    def _body(self, final: bool) -> list[Piece]:
        form, text = self._form, self._text
        ends = tuple(filter(None, (form.message_end, form.answer_end, form.turn)))
        found = [(at, end) for end in ends if (at := text.find(end)) >= 0]
        at, end = min(found, default=(len(text), ""))
        if self._part == "aside":
            if not found and not final:
                return []
            pieces = self._aside(text[:at]) if text[:at].strip() else []
        else:
            at -= 0 if found or final else held(text, ends)
            said = text[:at]
            pieces = self._words.say(said) if self._part == "answer" else [Thought(said)] if said else []
        self._text = text[at + len(end) * (end != form.turn) :]
        if found or final:
            self._part = None
        return pieces

    def _aside(self, message: str) -> list[Piece]:
        """The call in a message, or its words where it is for nobody but the user."""
        try:
            if self._form.calls is not None and not self._form.header_end:
                begins = [at for each in self._form.calls.triggers if (at := message.find(each)) >= 0]
                return list(self._form.calls.read(message, min(begins, default=0), self._known, final=True).calls)
            header, _, body = message.partition(self._form.header_end or "\0")
            recipient = _RECIPIENT.search(header)
            if recipient is not None:
                return [Call(recipient.group(1), as_object(body))]
        except Broken:
            self.broken += 1
            body = message
        self._part_from_the_last()
        return self._words.say(body)
