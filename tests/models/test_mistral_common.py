"""Tokenizers that write chats by their own code: read like a template, control tokens in texts count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from laconic.models.mistral import adapted
from laconic.models.text import Text
from tests import tiny

CONTROL = ("[INST]", "[/INST]", "[THINK]", "[/THINK]")


def backend() -> Any:
    """A tokenizer with the manners of Transformers' backend, and none of its code."""
    inner = tiny.tokenizer(template=None)
    inner.add_tokens(list(CONTROL), special_tokens=True)

    class Backend:
        chat_template = None
        bos_token_id, eos_token_id = inner.convert_tokens_to_ids("<|endoftext|>"), inner.eos_token_id
        all_special_tokens = (*CONTROL, "<|im_end|>")

        def __len__(self) -> int:
            return len(inner)

        def get_vocab(self) -> dict[str, int]:
            return dict(inner.get_vocab())

        def convert_tokens_to_ids(self, token: str) -> int:
            return int(inner.convert_tokens_to_ids(token))

        def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
            return [byte for letter in text for byte in inner.encode(letter, add_special_tokens=False)]

        def decode(self, tokens: list[int], **options: Any) -> str:
            return str(inner.decode(tokens))

        def apply_chat_template(self, messages: Any, tokenize: bool, return_dict: bool, **options: Any) -> list[int]:
            assert tokenize
            assert not return_dict
            if options.get("reasoning_effort") is not None:
                raise ValueError("not supported for this model")
            text = ""
            for message in messages:
                thought = message.get("reasoning_content")
                answer = f"[THINK]{thought}[/THINK]" * bool(thought) + str(message["content"])
                text += f"[INST]{message['content']}[/INST]" if message["role"] == "user" else f"{answer}<|im_end|>"
            return list(inner.encode(text, add_special_tokens=False))

    Backend.__module__ = "transformers.tokenization_mistral_common"
    return Backend()


def test_its_chats_and_its_format_are_read() -> None:
    text = Text(backend())
    assert (text.format.opens, text.format.closes, text.format.bridge) == ("[THINK]", "[/THINK]", "")
    assert (text.format.source, text.format.switch) == ("rendered", None)
    tokens, phase = text.ask("Why?")
    assert text.decode(tokens) == "[INST]Why?[/INST]"
    assert phase == "before"
    off, answering = text.ask("Why?", thinking=False)
    assert (text.decode(off), answering) == ("[INST]Why?[/INST][THINK][/THINK]", "answer")


def test_control_tokens_in_texts_count_and_others_are_left_alone() -> None:
    text = Text(backend())
    assert text.close_token == text.tokenizer.get_vocab()["[/THINK]"]
    assert text.decode(text.encode("a[/THINK]b")) == "a[/THINK]b"
    assert len(text.encode("a[/THINK]b")) == 3
    other = tiny.tokenizer()
    assert adapted(other) is other


@pytest.mark.parametrize("version", ["v13", "v15"])
def test_a_tokenizer_of_the_package_itself(tmp_path: Path, version: str) -> None:
    package = pytest.importorskip("mistral_common", reason="needs the package mistral-common")
    from mistral_common.tokens.tokenizers.base import SpecialTokens
    from transformers import AutoTokenizer
    from transformers.tokenization_mistral_common import MistralCommonBackend

    made = json.loads((Path(package.__file__).parent / "data" / "tekken_240911.json").read_text())
    names = [str(token.value) for token in SpecialTokens]
    count = made["config"]["default_num_special_tokens"]
    made["config"]["version"] = version
    made["special_tokens"] = [
        {"rank": i, "token_str": names[i] if i < len(names) else f"<SPECIAL_{i}>", "is_control": True}
        for i in range(count)
    ]
    if version == "v15":
        made["model_settings_builder"] = {
            "reasoning_effort": {"type": "enum", "values": ["none", "high"], "accepts_none": True, "default": "none"}
        }
    (tmp_path / "tekken.json").write_text(json.dumps(made))
    assert AutoTokenizer
    text = Text(MistralCommonBackend.from_pretrained(tmp_path))
    assert (text.format.opens, text.format.closes, text.format.bridge) == ("[THINK]", "[/THINK]", "")
    direct = text.tokenizer._tokenizer.apply_chat_template(
        [{"role": "user", "content": "Why?"}], tokenize=True, return_dict=False
    )
    if version == "v13":
        assert list(text.prompt("Why?")) == direct
    else:
        assert text.format.switch is not None
        assert text.format.switch.keyword == "reasoning_effort"
        assert list(text.prompt("Why?", thinking=False)) == direct
        assert "high" in text.decode(text.prompt("Why?"))
