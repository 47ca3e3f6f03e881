"""What one request has written: which tokens are thought, answer or injected, and where steps and the text end."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from laconic.models.text import Text
from laconic.thinking.base import Place
from laconic.types import Kind, Request

STEP = "\n\n"
"""What parts the steps of a thought."""

_WINDOW = 48
"""Tokens decoded to look for a tag or stop string of several tokens."""


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


@dataclass(frozen=True, slots=True)
class Parts:
    """A transcript's text, taken apart."""

    text: str
    thinking: str
    answer: str


class Transcript:
    """Follows the tokens of one request. ``tokens`` is the request's context, prompt first; it is appended here.

    The phase is ``before`` (no thought yet), ``thinking``, then ``answer`` for good. Thinking tokens include the tags.
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
        self.phase = self._initial_phase()
        self._opened_by_prompt = self.phase == "thinking"

    def _initial_phase(self) -> str:
        markup = self.text.markup
        if markup is None:
            return "answer"
        prompt = self.text.decode(self.tokens[-256:])
        opened, closed = prompt.rfind(markup.open), prompt.rfind(markup.close)
        if opened > closed:
            return "thinking"
        # A template that writes an empty thought itself (thinking switched off) ends with the closing tag.
        return "answer" if closed > opened and not prompt[closed + len(markup.close) :].strip() else "before"

    def push(self, token: int, *, injected: bool = False) -> Mark:
        """Append a token and say what it brought about."""
        self.tokens.append(token)
        markup = self.text.markup
        if self.phase == "thinking":
            self._trail.append(self.snapshot(len(self.tokens) - 1))
            self.kinds.append("injected" if injected else "thinking")
            self.thinking += not injected
            if token in self.text.eos:
                return Mark.FINISHED
            if markup is not None and self._completes(markup.close, self.text.close_token, token):
                self.phase = "answer"
                return Mark.CLOSED
            return Mark.STEP if self._ends_step(token) else Mark.NONE
        opens = (
            self.phase == "before" and markup is not None and self._completes(markup.open, self.text.open_token, token)
        )
        self.kinds.append("injected" if injected else "thinking" if opens else "answer")
        if opens:
            self.phase = "thinking"
            self.thinking += not injected
            self._step_start = len(self.tokens)
            return Mark.NONE
        self.answer += not injected
        if token in self.text.eos or (self._stop and self._stops()):
            return Mark.FINISHED
        return Mark.NONE

    def snapshot(self, length: int | None = None) -> Snapshot:
        """The present point; ``length`` while a token is being pushed that does not count yet."""
        length = len(self.tokens) if length is None else length
        return Snapshot(
            length, self.phase, self.thinking, len(self.steps), self._step_start, self._newline, self.answer
        )

    def before_the_end(self) -> tuple[Snapshot, str]:
        """The point at which the model began to end the thought that it has just ended, by its tag or without.

        Also what it wrote of the thought in the very tokens of the tag (``."`` where ``.</`` is one token).
        """
        markup = self.text.markup
        if self.phase != "answer" or markup is None:  # the end of the text, without a tag
            return self._trail[-1], ""
        for size in range(1, len(self._trail) + 1):
            written = self.text.decode(self.tokens[-size:])
            if markup.close in written:
                return self._trail[-size], written[: written.rfind(markup.close)]
        raise AssertionError("a tag longer than the window")

    @property
    def step(self) -> int:
        """Tokens since the last step of the thought ended."""
        return len(self.tokens) - self._step_start

    def place(self) -> Place:
        """Where the next token will be written, as logit rules see it."""
        return Place(self.phase, self.thinking, self.answer, self.step, self.tokens)

    def restore(self, point: Snapshot) -> None:
        """Take back everything written since ``point``."""
        del self.tokens[point.length :]
        del self.kinds[point.length - self.prompt_length :]
        del self.steps[point.steps :]
        self.phase, self.thinking, self._step_start = point.phase, point.thinking, point.step_start
        self._newline, self.answer = point.newline, point.answer
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

    def parts(self) -> Parts:
        """Text, thought and answer; end-of-sequence and what follows a stop string are left out."""
        tokens = self.tokens[self.prompt_length :]
        if tokens and tokens[-1] in self.text.eos:
            tokens = tokens[:-1]
        text = self.text.decode(tokens)
        markup = self.text.markup
        thinking, answer = "", text
        if markup is not None:
            start = 0 if self._opened_by_prompt else text.find(markup.open) + len(markup.open)
            if self._opened_by_prompt or markup.open in text:
                closed = text.find(markup.close, start)
                thinking = text[start : closed if closed >= 0 else None]
                answer = text[closed + len(markup.close) :] if closed >= 0 else ""
        cut = min((at for at in (answer.find(stop) for stop in self._stop) if at >= 0), default=None)
        if cut is not None:
            text = text[: len(text) - (len(answer) - cut)]
            answer = answer[:cut]
        return Parts(text, thinking.strip(), answer.strip())

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
        """Whether a blank line ended with this token; blank lines may be one token, two, or part of one."""
        piece = self.text.piece(token)
        ends = STEP in piece or (self._newline and piece.startswith("\n"))
        self._newline = piece.endswith("\n")
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
        longest = max(len(stop) for stop in self._stop)
        start = max(self.prompt_length, len(self.tokens) - max(_WINDOW, longest))
        return any(stop in self._answer_from(start) for stop in self._stop)

    def _answer_from(self, start: int) -> str:
        kinds = self.kinds[start - self.prompt_length :]
        return self.text.decode([t for t, kind in zip(self.tokens[start:], kinds, strict=True) if kind == "answer"])
