"""A GGUF file's byte-level vocabulary as a Transformers tokenizer."""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from laconic.errors import UnsupportedModel

_CONTROL = 3
"""The type that GGUF gives tokens that are never text (``gguf.TokenType.CONTROL``)."""


def tokenizer(values: dict[str, Any]) -> PreTrainedTokenizerFast:
    """The tokenizer that the file's values describe, with its chat template.

    Raises UnsupportedModel for a vocabulary other than SmolLM's: how text is cut before merging is only named in a
    GGUF file, so each kind has to be known.
    """
    kind = (values.get("tokenizer.ggml.model"), values.get("tokenizer.ggml.pre"))
    if kind != ("gpt2", "smollm"):
        raise UnsupportedModel(f"a vocabulary of kind {kind} cannot be converted.", "Only SmolLM's can.")
    tokens: list[str] = values["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in values["tokenizer.ggml.merges"]]
    core = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    # Every digit is a token of its own; then words, numbers and signs are parted as in GPT-2.
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\p{N}"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()
    types = values["tokenizer.ggml.token_type"]
    special = [token for token, what in zip(tokens, types, strict=True) if what == _CONTROL]
    core.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    named = {
        role: tokens[values[f"tokenizer.ggml.{key}_token_id"]]
        for role, key in (
            ("bos_token", "bos"),
            ("eos_token", "eos"),
            ("unk_token", "unknown"),
            ("pad_token", "padding"),
        )
        if f"tokenizer.ggml.{key}_token_id" in values
    }
    others = [token for token in special if token not in named.values()]
    made = PreTrainedTokenizerFast(
        tokenizer_object=core,
        additional_special_tokens=others,
        clean_up_tokenization_spaces=False,
        model_max_length=int(values["llama.context_length"]),
        **named,
    )
    made.chat_template = values.get("tokenizer.chat_template")
    return made
