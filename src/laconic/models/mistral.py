"""Tokenizers of the package mistral-common, which write chats by their own code, behind the interface of the others."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_MODULE = "tokenization_mistral_common"


def adapted(tokenizer: Any) -> Any:
    """``tokenizer``, or what makes one of mistral-common look like the others."""
    return MistralCommon(tokenizer) if type(tokenizer).__module__.endswith(_MODULE) else tokenizer


class MistralCommon:
    """A ``MistralCommonBackend`` of Transformers.

    It has no chat template, reads control tokens in a text as plain words, and takes chats as tokens alone; here chats
    are text, in which control tokens count.
    """

    chat_template = "mistral-common ('none', 'high')"
    """Stands for the package's code; in quotes what it takes for ``reasoning_effort``, where a model knows that."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._control = {token: tokenizer.convert_tokens_to_ids(token) for token in tokenizer.all_special_tokens}
        words = sorted(self._control, key=len, reverse=True)
        self._parts = re.compile("(" + "|".join(map(re.escape, words)) + ")")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __len__(self) -> int:
        return len(self._tokenizer)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Token ids of ``text``; the token for the beginning of a text comes before it if asked for."""
        start = [self._tokenizer.bos_token_id] if add_special_tokens else []
        found: list[int] = []
        for part in self._parts.split(text):
            if part in self._control:
                found.append(self._control[part])
            elif part:
                found += self._tokenizer.encode(part, add_special_tokens=False)
        return start + found

    def apply_chat_template(self, messages: Sequence[Mapping[str, Any]], tokenize: bool = False, **options: Any) -> str:
        """The text of a chat."""
        tokens = self._tokenizer.apply_chat_template(list(messages), tokenize=True, return_dict=False, **options)
        return str(self._tokenizer.decode(tokens, skip_special_tokens=False))
