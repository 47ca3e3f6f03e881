"""Rows of data in the model's own words: its chat template's prompt, its thinking tags, its end of a turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from laconic.models.formats.template import ANSWER, ASKED, Template
from laconic.models.text import Text

_NO_LIMIT = 10**9
"""Transformers' way of saying that a tokenizer knows none is a larger number."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as a trainer's tokenizer takes it, its ids, the phase in which the reply begins, and what opens the
    thought there."""

    text: str
    ids: tuple[int, ...]
    phase: str
    opening: str


class Renderer:
    """What a model that speaks as ``text`` says would read and write.

    Trainers that take ``prompt`` and ``completion`` as text let the tokenizer add its special tokens: a token for the
    beginning of a text that both the template and the tokenizer would write is left to the tokenizer.
    """

    def __init__(self, text: Text) -> None:
        self.text = text
        self._asked: tuple[Any, Prompt] | None = None

    def prompt(self, messages: Sequence[Mapping[str, Any]]) -> Prompt:
        """The prompt of a question. Raises RequestError where the template refuses it."""
        if self._asked is None or self._asked[0] != messages:
            self._asked = messages, self._prompt(messages)
        return self._asked[1]

    def _prompt(self, messages: Sequence[Mapping[str, Any]]) -> Prompt:
        ids, phase = self.text.ask(messages)
        written, form = self.text.decode(ids), self.text.format
        begin = getattr(self.text.tokenizer, "bos_token", None) or ""
        if begin and written.startswith(begin) and self.text.tokenizer.encode("x")[:1] == list(ids[:1]):
            written = written.removeprefix(begin)
        if not form.thinks:
            return Prompt(written, ids, "answer", "")
        if phase != "thinking":
            return Prompt(written, ids, "before", form.opens + form.lead)
        return Prompt(written, ids, phase, form.lead if written.endswith(form.opens) else "")

    def completion(self, messages: Sequence[Mapping[str, Any]], thought: str, reply: str) -> str:
        """All that the model would write: its thought, its reply and the end of its turn.

        A model without thinking tags writes the thought as the beginning of its reply.
        """
        form = self.text.format
        if not form.thinks:
            said = f"{thought}\n\n{reply}" if thought else reply
            return f"{said}{self.ending}"
        opening = self.prompt(messages).opening
        return f"{opening}{thought}{form.trail}{form.closes}{form.bridge}{reply}{form.answer_end}{self.ending}"

    def tokens(self, text: str) -> int:
        """How many tokens a text has."""
        return len(self.text.encode(text))

    @cached_property
    def context(self) -> int | None:
        """Tokens that the model can read, where its tokenizer says so."""
        most = getattr(self.text.tokenizer, "model_max_length", None)
        return most if isinstance(most, int) and most < _NO_LIMIT else None

    @cached_property
    def ending(self) -> str:
        """The token that ends a turn: that of the chat template, or else the tokenizer's own."""
        known = sorted((self.text.piece(token) for token in self.text.eos), key=len, reverse=True)
        rendered = Template(self.text.tokenizer, self.text.keywords).render(
            [{"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWER}], generate=False
        )
        after = (rendered or "").rpartition(ANSWER)[2].lstrip().removeprefix(self.text.format.answer_end).lstrip()
        own = str(getattr(self.text.tokenizer, "eos_token", None) or "")
        return next((end for end in known if end and after.startswith(end)), own)

    @cached_property
    def ends(self) -> tuple[str, ...]:
        """Texts that end a reply and are no part of it."""
        return tuple(dict.fromkeys((self.ending, *(self.text.piece(token) for token in self.text.eos))))
