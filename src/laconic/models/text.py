"""Text in, token ids out and back; chat prompts; and how a model marks where its thought begins and ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from laconic.errors import RequestError, TokenizerMismatch

Message = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Markup:
    """The tags around a thought. Either may be one token or several."""

    open: str
    close: str


BRIDGE = "\n\n"
"""What is written between a closing tag and the answer."""

KNOWN_MARKUP = (
    Markup("<think>", "</think>"),  # DeepSeek-R1 and its distills, Qwen3, QwQ, GLM, ...
    Markup("[THINK]", "[/THINK]"),  # Magistral
    Markup("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),  # gpt-oss
    Markup("<thinking>", "</thinking>"),
    Markup("<reasoning>", "</reasoning>"),
)


class Text:
    """A Transformers tokenizer, and what laconic needs to know of it.

    ``markup`` None looks for a known pair of tags in the vocabulary and the chat template; a model that has none
    simply has no thinking phase.
    """

    def __init__(self, tokenizer: Any, *, markup: Markup | None = None, eos: Sequence[int] = ()) -> None:
        self.tokenizer = tokenizer
        self.markup = markup or self._find_markup()
        self.eos = frozenset(eos) | ({tokenizer.eos_token_id} if tokenizer.eos_token_id is not None else set())
        self._pieces: dict[int, str] = {}
        self._phrases: dict[str, list[int]] = {}

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

    def prompt(self, prompt: str | Sequence[Message], *, thinking: bool = True) -> tuple[int, ...]:
        """Token ids that ask ``prompt``, a question or chat messages, ready for the model's turn.

        A tokenizer without a chat template gets the text as it is. ``thinking=False`` is passed to the template as
        ``enable_thinking``; where that changes nothing, an empty thought is written below the prompt. Raises
        RequestError for an empty prompt.
        """
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(m) for m in prompt]
        if not messages or not any(str(m.get("content", "")).strip() for m in messages):
            raise RequestError("the prompt is empty.", "Ask something.")
        text = self._written(messages, thinking)
        if not thinking and self.markup is not None and text == self._written(messages, True):
            opened = text.rstrip().endswith(self.markup.open)  # as the templates of DeepSeek-R1 do
            text += f"{'' if opened else self.markup.open + chr(10)}\n{self.markup.close}\n\n"
        return tuple(self.encode(text))

    def thinking(self) -> dict[str, Any] | None:
        """How the model marks its thought and how that is switched off, ready for JSON; None where it has no tags.

        ``opened_by`` says who writes the opening tag. ``off`` is what ``thinking=False`` does: the template's own
        switch, or an empty thought that is written below the prompt.
        """
        if self.markup is None:
            return None
        asked = [{"role": "user", "content": "x"}]
        on, off = self._written(asked, True), self._written(asked, False)
        opened = on.rfind(self.markup.open) > on.rfind(self.markup.close)
        return {
            "open": self.markup.open,
            "close": self.markup.close,
            "bridge": BRIDGE,
            "opened_by": "prompt" if opened else "model",
            "off": "enable_thinking" if on != off else "an empty thought",
            "effort": None,
            "source": "table",
        }

    def _written(self, messages: Sequence[Message], thinking: bool) -> str:
        if self.tokenizer.chat_template is None:
            return "\n".join(str(m["content"]) for m in messages)
        return str(
            self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, enable_thinking=thinking
            )
        )

    @cached_property
    def close_token(self) -> int | None:
        """The closing tag's id, if it is a single token."""
        return self._single(self.markup.close) if self.markup else None

    @cached_property
    def open_token(self) -> int | None:
        """The opening tag's id, if it is a single token."""
        return self._single(self.markup.open) if self.markup else None

    def same_vocabulary(self, other: Text) -> None:
        """Raise TokenizerMismatch unless both tokenizers map the same text to the same ids."""
        mine, theirs = self.tokenizer.get_vocab(), other.tokenizer.get_vocab()
        if mine != theirs:
            odd = next(iter(set(mine.items()) ^ set(theirs.items())))
            raise TokenizerMismatch(
                f"draft and target have different vocabularies, e.g. at {odd[0]!r}.",
                "Use a draft of the same family, or a drafter that needs no model (suffix, prompt-lookup).",
            )

    def _single(self, tag: str) -> int | None:
        ids = self.encode(tag)
        return ids[0] if len(ids) == 1 else None

    def _find_markup(self) -> Markup | None:
        vocabulary = self.tokenizer.get_vocab()
        template = str(self.tokenizer.chat_template or "")
        for markup in KNOWN_MARKUP:
            if markup.close in vocabulary or markup.close in template:
                return markup
        # gpt-oss writes its channel names between special tokens that only its vocabulary knows.
        harmony = KNOWN_MARKUP[2]
        return harmony if {"<|channel|>", "<|message|>"} <= vocabulary.keys() else None
