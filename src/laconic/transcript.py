"""What one request has written: which tokens are thought, answer or injected, and where steps and the text end."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from laconic.models.formats.messages import messages
from laconic.models.formats.phase import begins
from laconic.models.text import Text
from laconic.thinking.base import Place
from laconic.thinking.budget.tag import blank
from laconic.types import Kind, Request

STEP = "\n\n"
"""What parts the steps of a thought."""

_WINDOW = 48
"""Tokens decoded to look for a tag or stop string of several tokens."""
_PIECES = 8
"""Tokens of which one character may consist."""


class Mark(Enum):
    """What a token brought about."""

    NONE = auto()
    STEP = auto()
    """It ended a step of the thought."""
    CLOSED = auto()
    """It completed the closing tag."""
    FINISHED = auto()
    """It ended the request: end of sequence or a stop string."""


class Snapshot(NamedTuple):
    """Enough to take a transcript back to an earlier point."""

    length: int
    phase: str
    thinking: int
    steps: int
    step_start: int
    newline: bool
    answer: int
    closed: int
    header: int
    aside: str


@dataclass(frozen=True, slots=True)
class Parts:
    """A transcript's text, taken apart."""

    text: str
    thinking: str
    answer: str


class Transcript:
    """Follows the tokens of one request. ``tokens`` is the request's context, prompt first; it is appended here.

    The phase is ``before`` (nothing but what may open a thought), ``thinking``, then ``answer`` for good. A call of a
    tool, or a message in a channel of its own, is an ``aside``: it counts with the answer, and no limit cuts it.
    Thinking tokens include the tags.
    """

    def __init__(self, text: Text, request: Request, tokens: list[int], *, keep_steps: bool = False) -> None:
        self.text = text
        self.tokens = tokens
        self.prompt_length = len(tokens)
        self.kinds: list[Kind] = []
        self.steps: list[str] = []
        self.thinking = 0
        self._stop = request.limits.stop
        self._keep_steps = keep_steps
        self.answer = 0
        """Tokens of the answer that the model chose."""
        self._trail: deque[Snapshot] = deque(maxlen=_WINDOW)
        """The points before each of the last tokens of the thought."""
        self._newline = False
        self._step_start = len(tokens)
        self._closed = len(tokens)
        """Where the answer begins: behind the closing tag."""
        self._measured = (-1, 0)
        self._header = 0
        """Where a message begins whose part is not known yet; 0 where there is none."""
        self._aside = ""
        """The phase to which an aside returns; empty outside asides."""
        self.phase = self._begins = self._initial_phase(request.phase)

    def _initial_phase(self, known: str | None) -> str:
        """The phase that the request says, or what the tags at the end of its prompt say."""
        form = self.text.format
        if not form.thinks:
            return "answer"
        return known or begins(self.text.decode(self.tokens[-256:]), form)

    def push(self, token: int, *, injected: bool = False) -> Mark:
        """Append a token and say what it brought about."""
        self.tokens.append(token)
        if self.phase == "before":
            return self._begin(token)
        if self.phase == "aside" and self._aside and self._returns(token):
            self.phase, self._aside = self._aside, ""
        if self.phase == "thinking":
            return self._think(token, injected)
        self.kinds.append("injected" if injected else "answer")
        self.answer += not injected and self.phase == "answer"
        if token in self.text.eos:
            return Mark.FINISHED
        if self.phase == "aside" and not self._aside:
            self._message(token)
        elif self.phase == "answer":
            self._steps_aside(token)
        return Mark.FINISHED if self._stop and self._stops() else Mark.NONE

    @property
    def thinks(self) -> bool:
        """Whether a thought is open, and not about to end with a header that is half written."""
        return self.phase == "thinking" and not self._header

    @property
    def parted(self) -> bool:
        """Whether it is known to which part of the reply the last tokens belong."""
        return self.phase != "before" and not self._header

    @property
    def awaited(self) -> tuple[str, ...]:
        """Texts of several tokens that change the meaning of what has been written of them: a tag, stop strings."""
        form = self.text.format
        tags = (form.message_end or form.closes,) if self.text.close_token is None else ()
        if self.phase == "thinking":
            return tags
        again = self._closed > self.prompt_length and not form.turn  # another closing tag makes thought of an answer
        return (*self._stop, *tags) if again else self._stop

    def told(self) -> list[Kind]:
        """The kinds of all tokens, with those before another closing tag as thought, where an answer follows it."""
        form, kinds = self.text.format, self.kinds.copy()
        if form.turn or self.phase != "answer" or self._closed == self.prompt_length:
            return kinds
        tokens = [token for token in self.tokens[self._closed :] if token not in self.text.eos]
        more, tag, rest = self.text.decode(tokens).rpartition(form.closes)
        if not tag or not rest.strip():
            return kinds
        size = self._reaching(tokens, len(more + tag))
        for at in range(self._closed - self.prompt_length, self._closed - self.prompt_length + size):
            kinds[at] = "thinking" if kinds[at] == "answer" else kinds[at]
        return kinds

    def _reaching(self, tokens: Sequence[int], length: int) -> int:
        """How many of ``tokens`` it takes until their text has ``length`` characters."""

        def long(n: int) -> bool:
            return len(self.text.decode(tokens[:n])) >= length

        size = bisect_left(range(1, len(tokens)), True, key=long) + 1
        # Half a character may be written as several that stand for nothing, so a few tokens before may be enough.
        return next((n for n in range(max(size - _PIECES, 1), size) if long(n)), size)

    def _begin(self, token: int) -> Mark:
        """A token before any thought: it counts as thought while it may be part of the opening tag."""
        self.kinds.append("thinking")
        self.thinking += 1
        begun = self.text.decode(self.tokens[self.prompt_length :]).lstrip()
        part = self.text.format.part(begun.rstrip("\ufffd"))
        ended = token in self.text.eos
        if part is None and not ended:
            return Mark.NONE
        if part == "thinking" and not ended:
            self._open()
            return Mark.NONE
        self.phase = part if part == "aside" else "answer"
        self.kinds = ["answer"] * len(self.kinds)
        self.answer, self.thinking = len(self.kinds) if self.phase == "answer" else 0, 0
        if self.phase == "answer" and self._steps_aside(token):
            self.answer = 0
        return Mark.FINISHED if ended or (self._stop and self._stops()) else Mark.NONE

    def _open(self) -> None:
        self.phase = "thinking"
        self._step_start = len(self.tokens)

    def _think(self, token: int, injected: bool) -> Mark:
        self._trail.append(self.snapshot(len(self.tokens) - 1))
        self.kinds.append("injected" if injected else "thinking")
        self.thinking += not injected
        if token in self.text.eos:
            return Mark.FINISHED
        if self.text.format.turn:
            self._message(token)
            if self.phase == "answer":
                return Mark.CLOSED
            if self.phase == "aside" or self._header:
                return Mark.NONE
        elif self._completes(self.text.format.closes, self.text.close_token, token):
            self.phase, self._closed = "answer", len(self.tokens)
            return Mark.CLOSED
        elif self._steps_aside(token):
            return Mark.NONE
        return Mark.STEP if self._ends_step(token) else Mark.NONE

    def _message(self, token: int) -> None:
        """Go over to another message, where thought, answer and asides are messages of their own."""
        form = self.text.format
        if not self._header:
            if self._just_completed(form.message_end, token):
                self._header = len(self.tokens)
            return
        begun = self.text.decode(self.tokens[self._header :]).lstrip().rstrip("\ufffd")
        part = None if form.turn.startswith(begun) else form.part(begun.removeprefix(form.turn).lstrip())
        if part is None:
            return
        self._header = 0
        if part == "answer":
            self._closed = len(self.tokens)
        elif part == "thinking":
            self._step_start = len(self.tokens)
        self.phase = part

    def _steps_aside(self, token: int) -> bool:
        """Whether ``token`` begins a call of a tool between tags; it may do so in an open thought."""
        form = self.text.format
        if form.turn or not any(self._just_completed(aside, token) for aside in form.asides):
            return False
        self.phase, self._aside = "aside", self.phase
        return True

    def _returns(self, token: int) -> bool:
        """Whether ``token`` goes on behind a call of a tool that is over."""
        end = self.text.format.aside_end
        if not end or token in self.text.eos or not self.text.piece(token).strip():
            return False
        recent = self.tokens[max(self.prompt_length, len(self.tokens) - _WINDOW) : -1]
        return self.text.decode(recent).rstrip().endswith(end)

    def snapshot(self, length: int | None = None) -> Snapshot:
        """The present point; ``length`` while a token is being pushed that does not count yet."""
        length = len(self.tokens) if length is None else length
        return Snapshot(
            length,
            self.phase,
            self.thinking,
            len(self.steps),
            self._step_start,
            self._newline,
            self.answer,
            self._closed,
            self._header,
            self._aside,
        )

    @property
    def unanswered(self) -> bool:
        """Whether the thought has been closed and nothing but white space or a header stands behind it."""
        return (
            self.phase == "answer"
            and self._closed > self.prompt_length
            and blank(self.text, self.tokens[self._closed :])
        )

    @property
    def answer_begins(self) -> int:
        """Where the first word of the answer stands among the tokens; behind them while there is none."""
        if self.phase != "answer":
            return len(self.tokens)
        if self._closed == self.prompt_length:
            return self._closed
        after = range(self._closed, len(self.tokens))
        said = (at for at in after if not blank(self.text, self.tokens[self._closed : at + 1]))
        return next(said, len(self.tokens))

    def before_the_end(self) -> tuple[Snapshot, str]:
        """The point at which the model began to end the thought that it has just ended, by its tag or without.

        Also what it wrote of the thought in the very tokens of the tag (``."`` where ``.</`` is one token).
        """
        form = self.text.format
        closes = form.message_end or form.closes
        if self.phase != "answer":  # the end of the text, without a tag
            return self._trail[-1], ""
        for size in range(1, len(self._trail) + 1):
            written = self.text.decode(self.tokens[-size:])
            if closes in written:
                return self._trail[-size], written[: written.rfind(closes)]
        raise AssertionError("a tag longer than the window")

    @property
    def step(self) -> int:
        """Tokens since the last step of the thought ended."""
        return len(self.tokens) - self._step_start

    def place(self) -> Place:
        """Where the next token will be written, as logit rules see it."""
        return Place(self.phase, self.thinking, self.answer, self.step, self.tokens, self._answer_from())

    def _answer_from(self) -> int:
        """Where the reply to the user begins; -1 in a thought, and in a message that is neither.

        Before a reply has shown what it is, it may be all of it; a call in an answer is part of it.
        """
        if self.phase == "before":
            return -1 if self.text.format.turn else self.prompt_length
        return self._closed if "answer" in (self.phase, self._aside) else -1

    def restore(self, point: Snapshot) -> None:
        """Take back everything written since ``point``."""
        del self.tokens[point.length :]
        del self.kinds[point.length - self.prompt_length :]
        del self.steps[point.steps :]
        self.phase, self.thinking, self._step_start = point.phase, point.thinking, point.step_start
        self._newline, self.answer = point.newline, point.answer
        if point.phase == "before":
            self.kinds = ["thinking"] * len(self.kinds)
        self._closed, self._header, self._aside = point.closed, point.header, point.aside
        while self._trail and self._trail[-1].length >= point.length:
            self._trail.pop()

    @contextmanager
    def supposing(self) -> Iterator[Snapshot]:
        """Whatever is pushed within is taken back at the end; gives the present point."""
        here, trail = self.snapshot(), list(self._trail)
        try:
            yield here
        finally:
            self.restore(here)
            self._trail = deque(trail, _WINDOW)  # long drafts push the points before them out

    def count(self, kind: Kind) -> int:
        """Tokens of one kind."""
        return self.kinds.count(kind)

    @property
    def closed(self) -> int:
        """Where the answer begins among the tokens, behind the closing tag; the prompt's length where there is none."""
        return self._closed

    def parts(self, text: str | None = None) -> Parts:
        """Text, thought and answer; end-of-sequence and what follows a stop string are left out.

        ``text`` is a beginning of what was written; None for all of it.
        """
        if text is None:
            tokens = self.tokens[self.prompt_length :]
            if tokens and tokens[-1] in self.text.eos:
                tokens = tokens[:-1]
            text = self.text.decode(tokens)
        thinking, answer = self._apart(text)
        cut = self._stop_in(answer, 0)
        if cut is not None:
            text = text[: len(text) - (len(answer) - cut)]
            answer = answer[:cut]
        return Parts(text, *self._bare(thinking, answer))

    @property
    def _head(self) -> int:
        """Characters up to the end of the closing tag."""
        if self._measured[0] != self._closed:
            self._measured = self._closed, len(self.text.decode(self.tokens[self.prompt_length : self._closed]))
        return self._measured[1]

    def _apart(self, text: str) -> tuple[str, str]:
        """Thought and answer of the whole written ``text``, the answer with all that stands behind the closing tag."""
        form = self.text.format
        opened, closed = self._begins == "thinking", self._closed > self.prompt_length
        if form.turn:
            return messages(form, text, opened=opened) if self._begins != "answer" else ("", text)
        if not (opened or closed or self.phase == "thinking" or self._aside == "thinking"):
            return "", text
        begins = text.find(form.opens)
        start = 0 if opened else begins + len(form.opens) if begins >= 0 else len(text)
        head = self._head if closed else 0
        if not closed or len(text) < head:
            aside = max(text.rfind(aside) for aside in form.asides) if self._aside else len(text)
            return text[start:aside], text[aside:]
        end = text.rfind(form.closes, start, head)
        return text[start:end], text[end + len(form.closes) :]

    def _bare(self, thinking: str, answer: str) -> tuple[str, str]:
        """Thought and answer without the answer's header and end, and without closing tags written once more.

        What a model writes before another closing tag was thought, as long as an answer follows it.
        """
        form = self.text.format
        if not form.turn and self._closed > self.prompt_length and form.closes in answer:
            more, _, rest = answer.rpartition(form.closes)
            if rest.strip():
                thinking, answer = thinking + more.replace(form.closes, ""), rest
            else:
                answer = answer.replace(form.closes, "")
        answer = answer.strip()
        for header in form.headers if not form.turn else ():
            answer = answer.removeprefix(header)
        if form.answer_end and not form.turn:
            answer = answer.partition(form.answer_end)[0]
        return thinking.strip(), answer.strip()

    def _completes(self, tag: str, single: int | None, token: int) -> bool:
        """Whether ``token`` completes ``tag``; ``single`` is the tag's id where it is one token."""
        return token == single if single is not None else self._just_completed(tag, token)

    def _just_completed(self, tag: str, token: int) -> bool:
        """Whether ``tag`` is in the text once more than it was before ``token``."""
        if tag[-1] not in self.text.piece(token):
            return False
        recent = self.tokens[max(self.prompt_length, len(self.tokens) - _WINDOW) :]
        return self.text.decode(recent).count(tag) > self.text.decode(recent[:-1]).count(tag)

    def _ends_step(self, token: int) -> bool:
        """Whether a blank line ended with this token; blank lines may be one token, several, or part of one, and hold
        white space."""
        ends = False
        for character in self.text.piece(token):
            ends |= character == "\n" and self._newline
            if character not in " \t\r":
                self._newline = character == "\n"
        if not ends or len(self.tokens) == self._step_start:
            return False
        if self._keep_steps:
            written = self.text.decode(self.tokens[self._step_start :]).strip()
            if not written:
                return False
            self.steps.append(written)
        self._step_start = len(self.tokens)
        return True

    def _stops(self) -> bool:
        """Whether the last token completes a stop string in the answer."""
        longest = max(len(stop) for stop in self._stop)
        start = max(self._closed, len(self.tokens) - max(_WINDOW, longest))
        before = len(self.text.decode(self.tokens[start:-1]).rstrip("\ufffd"))
        return self._stop_in(self.text.decode(self.tokens[start:]), before, begins=start == self._closed) is not None

    def _stop_in(self, answer: str, after: int, *, begins: bool = True) -> int | None:
        """Where the first stop string begins that ends after ``after`` characters of ``answer``; None if none does.

        What stands between the closing tag and the first word of an answer (which ``begins`` says this is) is the
        format's: a stop string that lies in it would lose the answer.
        """
        if begins and self._closed > self.prompt_length:
            lead = len(answer) - len(answer.lstrip())
            header = next((h for h in self.text.format.headers if answer.startswith(h, lead)), "")
            if header:
                lead += len(header)
                lead += len(answer[lead:]) - len(answer[lead:].lstrip())
            after = max(after, lead)
        found = (answer.find(stop, max(after - len(stop) + 1, 0)) for stop in self._stop)
        return min((at for at in found if at >= 0), default=None)
