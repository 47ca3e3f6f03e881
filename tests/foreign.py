"""Small tokenizers of different families, and real ones where a folder of them is named."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from laconic.models.text import Text

FOLDER = os.environ.get("LACONIC_TOKENIZERS", "")
REAL = ("qwen3", "deepseek_v3", "gptoss", "llama3", "gemma3")
PROSE = (
    "What is 12+34? Let me think about it step by step. The answer is 46, so the answer is \\boxed{46}.\n\n"
    "Größe und Straße: naïve café, 漢字かな交じり文, 🤖 and 👩‍👩‍👧.\tTabs,  two spaces\n   and lines.\n\n"
    "def f(x):\n    return x ** 2 + 1  # a comment\n"
)


def letters(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """Tokens of a few ASCII letters, by the merges of two of them; there are no others, not even for single bytes."""
    merges = [(word[:i], word[i:]) for word in words for i in range(1, len(word)) if {word[:i], word[i:]} <= set(words)]
    core = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core)


def byte_level(size: int = 330, *, special: Sequence[str] = ("<|end|>",), tags: Sequence[str] = ()) -> Text:
    """Byte-level BPE with merges learned from a short prose. ``tags`` are added and no special tokens."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator([PROSE], trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet))
    core.add_special_tokens([AddedToken(name, normalized=False) for name in special])
    core.add_tokens([AddedToken(name, normalized=False, special=False) for name in tags])
    return Text(PreTrainedTokenizerFast(tokenizer_object=core, eos_token=special[0]))


def sentence_piece(size: int = 200, *, leads: bool = True) -> Text:
    """As SentencePiece writes tokens: U+2581 for a space, tokens for bytes, and perhaps a space before every text."""
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    learned.train_from_iterator([PROSE[:100]], trainers.BpeTrainer(vocab_size=size))
    made = learned.get_vocab()
    start = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words = sorted(made, key=lambda word: made[word])
    vocabulary = {word: i for i, word in enumerate([*start, *words])}
    merges = [
        next((word[:i], word[i:]) for i in range(1, len(word)) if {word[:i], word[i:]} <= set(words))
        for word in words
        if len(word) > 1
    ]
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    space = normalizers.Replace(" ", "▁")
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), space]) if leads else space
    strip = [decoders.Strip(" ", 1, 0)] if leads else []
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]  # type: ignore[list-item]
    )
    core.add_special_tokens([AddedToken(name, normalized=False) for name in start[:3]])
    return Text(PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", unk_token="<unk>"))


def real(name: str) -> PreTrainedTokenizerFast:
    """A tokenizer that ``scripts/fetch_tokenizers.py`` has fetched; the test is skipped, aloud, without it."""
    if not FOLDER or not (Path(FOLDER) / name / "tokenizer.json").is_file():
        pytest.skip(
            f"no tokenizer of {name}: set LACONIC_TOKENIZERS to the folder that scripts/fetch_tokenizers.py writes"
        )
    return PreTrainedTokenizerFast.from_pretrained(Path(FOLDER) / name)
