"""Text in, token ids out and back; and a model's format and chat template joined to its tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

from laconic.errors import RequestError
from laconic.models.chat import Chat, Message, plain
from laconic.models.formats import Format, discover
from laconic.models.formats.named import named
from laconic.models.formats.notes import notes
from laconic.models.formats.phase import begins
from laconic.models.formats.template import source
from laconic.models.mistral import adapted

__all__ = ["Message", "Text"]

_TAIL = 64
"""Tokens at the end of a prompt in which the beginning of the reply is looked for."""


class Text:
    """A Transformers tokenizer, and what laconic needs to know of it.

    ``format`` None looks for the model's own (:func:`laconic.models.formats.discover`); a model that has none simply
    has no thinking phase, and ``format.reason`` says so where that is in doubt. It may be a family's name, tags as
    ``OPEN,CLOSE``, or ``none`` (:func:`laconic.models.formats.named.named`). ``system`` is said before every
    question that has no system message of its own, and ``keywords`` are given to the chat template with every one.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        format: Format | str | None = None,
        eos: Sequence[int] = (),
        system: str = "",
        keywords: Mapping[str, Any] | None = None,
    ) -> None:
        self.tokenizer = tokenizer = adapted(tokenizer)
        self.system, self.keywords = system, dict(keywords or {})
        self.format = discover(tokenizer, None if format is None else named(format))
        self.eos = frozenset(eos) | ({tokenizer.eos_token_id} if tokenizer.eos_token_id is not None else set())
        self._chat = Chat(tokenizer, self.format)
        self._pieces: dict[int, str] = {}
        self._phrases: dict[str, list[int]] = {}

    def __deepcopy__(self, memo: Any) -> Text:
        return self  # it never changes, and states of methods that are copied hold on to it

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text``, nothing added."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def phrase(self, text: str) -> list[int]:
        """As ``encode``, for the few texts of a method's own that come again and again: they are kept."""
        if text not in self._phrases:
            self._phrases[text] = self.encode(text)
        return self._phrases[text].copy()

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of ``tokens``, special tokens included."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def piece(self, token: int) -> str:
        """Text of one token on its own; part of a multi-byte character shows as U+FFFD."""
        if token not in self._pieces:
            self._pieces[token] = self.decode([token])
        return self._pieces[token]

    def prompt(self, prompt: str | Sequence[Message], *, thinking: bool = True, **options: Any) -> tuple[int, ...]:
        """Token ids that ask ``prompt``, ready for the model's turn; see :meth:`ask`."""
        return self.ask(prompt, thinking=thinking, **options)[0]

    def ask(
        self,
        prompt: str | Sequence[Message],
        *,
        thinking: bool = True,
        effort: str = "",
        keywords: Mapping[str, Any] | None = None,
    ) -> tuple[tuple[int, ...], str]:
        """Token ids that ask ``prompt``, a question or chat messages, and the phase in which the reply begins.

        A tokenizer without a chat template gets the text as it is, after its own token for the beginning of a text; a
        template writes that itself. ``thinking`` and ``effort`` are said in the template's own words where it has any,
        ``keywords`` are passed to it as they are. A last message of the assistant is written on. Raises RequestError
        for an empty prompt, parts other than text, what the template refuses, and thinking that cannot be switched off.
        """
        messages = plain(prompt)
        if self.system and messages[0].get("role") != "system":
            messages.insert(0, {"role": "system", "content": self.system})
        given = {**self.keywords, **(keywords or {})}
        asked = self._chat.ask(messages, thinking=thinking, effort=effort, keywords=given)
        start = [] if source(self.tokenizer) else self._begin
        return (*start, *self.encode(asked.text)), asked.phase(self.format)

    def phase(self, prompt: Sequence[int]) -> str:
        """The phase in which a reply to these ids begins, which somebody else has made of a question.

        What the chat template adds for a reply is looked for at their end; of a prompt that is not the template's, the
        last few words are read.
        """
        written = self.decode(prompt[-_TAIL:])
        added = next((added for added in self._additions if written.endswith(added)), written)
        return begins(added, self.format)

    @cached_property
    def _additions(self) -> tuple[str, ...]:
        """What the chat template adds for a reply, with thinking on and off; longer ones first."""
        if not source(self.tokenizer):
            return ()
        found = set()
        for thinking in (True, False):
            with suppress(RequestError):  # one that cannot be switched off adds nothing else
                asked = self._chat.ask([{"role": "user", "content": "x"}], thinking=thinking, keywords=self.keywords)
                found.add(asked.added)
        return tuple(sorted(filter(None, found), key=len, reverse=True))

    @cached_property
    def _begin(self) -> list[int]:
        """The token that the tokenizer itself puts before a text, if it puts any."""
        begin = self.tokenizer.bos_token_id
        return [begin] if begin is not None and self.tokenizer.encode("x")[:1] == [begin] else []

    def thinking(self) -> dict[str, Any] | None:
        """How the model marks its thought and how that is switched off, ready for JSON; None where it has no tags.

        ``opened_by`` says who writes the opening tag: the prompt or the model; None where the template lets the model
        think only when asked to. ``off`` is what ``thinking=False`` does: the template's own switch, or an empty
        thought that is written below the prompt.
        """
        form = self.format
        if not form.thinks:
            return None
        opened_by = {"thinking": "prompt", "before": "model"}.get(self.ask("x")[1])
        return {
            "open": form.opens,
            "close": form.closes,
            "bridge": form.bridge,
            "opened_by": opened_by,
            "off": form.switch.keyword if form.switch is not None else "an empty thought",
            "effort": None if form.effort is None else [level for level, _, _ in form.effort.levels],
            "source": form.source,
        }

    def notes(self) -> list[str]:
        """What may not be as meant in how the model is spoken to: one sentence each, mostly none."""
        return notes(self.tokenizer, self.format, self.keywords)

    @cached_property
    def close_token(self) -> int | None:
        """The closing tag's id, if it is a single token."""
        return self._single(self.format.closes) if self.format.thinks else None

    @cached_property
    def open_token(self) -> int | None:
        """The opening tag's id, if it is a single token."""
        return self._single(self.format.opens) if self.format.thinks else None

    def same_vocabulary(self, other: Text) -> bool:
        """Whether an id stands for the same token in both tokenizers."""
        return bool(self.tokenizer.get_vocab() == other.tokenizer.get_vocab())

    def _single(self, tag: str) -> int | None:
        ids = self.encode(tag)
        return ids[0] if len(ids) == 1 else None
