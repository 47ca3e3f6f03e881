"""A reply taken apart as it comes: thought, content for the user, and calls of tools."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from laconic.models.formats.called.channels import Channels
from laconic.models.formats.called.pieces import Content, Piece, Thought, Words, held
from laconic.models.formats.format import Format
from laconic.models.formats.syntax.call import Call
from laconic.models.formats.syntax.literal import Broken, Incomplete, space
from laconic.models.formats.syntax.values import Tool, schemas


class Called(NamedTuple):
    """A reply without its thought: what the user reads, the calls, and how many calls could not be read.

    Such a call stays in the content as it was written.
    """

    content: str
    calls: tuple[Call, ...]
    broken: int


def parse(reply: str, form: Format, tools: Iterable[Tool] = (), *, begins: str = "answer") -> Called:
    """Take a reply apart. ``reply`` is a whole text, or what stands behind its thought.

    ``tools`` are OpenAI's; they type the arguments of families that write them as plain text, and tell calls from
    answers where a family writes them alike. A name that is not among them is kept. ``begins`` is the phase in which
    the text begins (``before``, ``thinking``, ``answer``). A call in a thought that goes on behind it is thought.
    """
    reader = Reader(form, tools, begins=begins)
    pieces = reader.push(reply) + reader.finish()
    content = "".join(piece.text for piece in pieces if isinstance(piece, Content))
    if not form.turn and form.closes and form.closes in content:  # what stands before another closing tag was thought
        before, _, rest = content.rpartition(form.closes)
        content = rest.strip() or before.replace(form.closes, "").strip()
    return Called(content, tuple(piece for piece in pieces if isinstance(piece, Call)), reader.broken)


class Reader:
    """Reads the text of a reply in pieces of any size.

    What it gives is certain: content that may turn out to be a tag is held back, and so is a call until it is whole.
    Put together, the pieces are what :func:`parse` finds, up to a closing tag written once more.
    """

    def __init__(self, form: Format, tools: Iterable[Tool] = (), *, begins: str = "answer") -> None:
        self._form, self._known, self._syntax = form, schemas(tools), form.calls
        self._phase = begins if form.thinks else "answer"
        self._text, self._words, self._sent = "", Words(), 0
        self._headed, self._ended = False, False
        self.broken = 0
        """Calls so far that could not be read."""
        self._channels = Channels(form, self._known, begins) if form.turn else None

    def push(self, text: str) -> list[Piece]:
        """What is certain now that ``text`` has come."""
        if self._channels is not None:
            return self._channels.push(text)
        self._text += text
        return self._read(final=False)

    def finish(self) -> list[Piece]:
        """What was held back, now that the reply is over."""
        if self._channels is not None:
            pieces, self.broken = self._channels.finish(), self._channels.broken
            return pieces
        return self._read(final=True)

    def _read(self, final: bool) -> list[Piece]:
        pieces: list[Piece] = []
        before = ""
        while before != (before := f"{self._phase}{self._headed}{len(self._text)}{self._sent}"):
            step = {"before": self._begin, "thinking": self._think}.get(self._phase, self._answer)
            pieces += step(final)
        return pieces

    def _begin(self, final: bool) -> list[Piece]:
        """Whether the reply opens a thought."""
        part = self._form.part(self._text.lstrip())
        if part == "thinking":
            self._phase, self._text = "thinking", self._text.lstrip().removeprefix(self._form.opens)
        elif part is not None or final:
            self._phase = "answer"
        return []

    def _think(self, final: bool) -> list[Piece]:
        triggers = self._syntax.triggers if self._syntax is not None and not self._syntax.loose else ()
        at, tag = _first(self._text, (self._form.closes, *triggers))
        if not tag:
            size = len(self._text) if final else len(self._text) - held(self._text, (self._form.closes, *triggers))
            return self._thought(size)
        if at:
            return self._thought(at)
        if tag == self._form.closes:
            self._phase, self._text = "answer", self._text[len(tag) :]
            return []
        if not self._calls_to_the_end(triggers):
            return self._thought(len(tag))
        if final:
            self._phase = "answer"
        return []

    def _calls_to_the_end(self, triggers: Sequence[str]) -> bool:
        """Whether nothing but calls follows, as far as the text goes: a call in a thought is one only then."""
        assert self._syntax is not None
        at, size = 0, len(self._text)
        while at < size:
            if not any(self._text.startswith(each, at) or each.startswith(self._text[at:]) for each in triggers):
                return False
            try:
                section = self._syntax.read(self._text, at, self._known)
            except Broken as error:
                return isinstance(error, Incomplete)
            at = space(self._text, section.end) if section.whole else size
        return True

    def _thought(self, size: int) -> list[Piece]:
        said, self._text = self._text[:size], self._text[size:]
        return [Thought(said)] if said else []

    def _answer(self, final: bool) -> list[Piece]:
        if not self._headed and not self._header(final):
            return []
        self._headed = True
        syntax, text = self._syntax, self._text
        triggers = syntax.triggers if syntax is not None else ()
        if syntax is not None and not syntax.opens.parts and not self._words.begun:  # nothing but data begins its calls
            bare = text.lstrip()
            if bare.startswith("{") or (not bare and not final):
                return self._call(len(text) - len(bare), final) if bare else []
        ends = (self._form.answer_end,) if self._form.answer_end else ()
        at, tag = _first(text, (*triggers, *ends))
        if not tag:
            size = len(text) if final else len(text) - held(text, (*triggers, *ends))
            return self._say(size)
        if at:
            return self._say(at)
        if tag in ends:
            self._text, self._ended = text[len(tag) :], True
            return []
        return self._call(0, final)

    def _header(self, final: bool) -> bool:
        """Whether it is known if a header opens the answer; it is left out."""
        begun = self._text.lstrip()
        header = next((each for each in self._form.headers if begun.startswith(each)), None)
        if header is not None:
            self._text = begun.removeprefix(header)
        return header is not None or final or not any(each.startswith(begun) for each in self._form.headers)

    def _call(self, at: int, final: bool) -> list[Piece]:
        """The calls that begin at ``at``, as far as they are whole; what is none is content."""
        assert self._syntax is not None
        try:
            section = self._syntax.read(self._text, at, self._known, final=final)
        except Broken as error:
            if isinstance(error, Incomplete) and not final:
                return []
            self.broken += not self._syntax.loose
            return self._say(max(at + 1, len(next(iter(self._syntax.triggers), ""))), broken=True)
        new: list[Piece] = list(section.calls[self._sent :])
        self._sent = len(section.calls)
        if section.whole:
            self._text, self._sent = self._text[section.end :], 0
            self.broken += section.broken
        return new

    def _say(self, size: int, *, broken: bool = False) -> list[Piece]:
        said, self._text = self._text[:size], self._text[size:]
        return self._words.say(said) if broken or not self._ended else []


def _first(text: str, tags: Iterable[str]) -> tuple[int, str]:
    """The first of ``tags`` in a text, and where; ``""`` where none is."""
    found = [(at, -len(tag), tag) for tag in tags if tag and (at := text.find(tag)) >= 0]
    at, _, tag = min(found, default=(len(text), 0, ""))
    return at, tag
