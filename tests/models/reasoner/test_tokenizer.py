"""The tokenizer writes any text, keeps digits single, and speaks the chat format."""

import pytest

pytest.importorskip("transformers")

from transformers import AutoTokenizer

from laconic.models.reasoner import draft_path, target_path

TEXTS = [
    "What is 37 * 48 + 15?", "héllo 漢字 🎉 \x00\t", "\n\n\n  a\r\n", "-12.50, (3-4)*{5}", "", "1,234,567 = x",
    "<think>\nSo the answer is 5.\n</think>\n\nThe answer is \\boxed{-5}.<|im_end|>",
]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():  # type: ignore[no-untyped-def]
    return AutoTokenizer.from_pretrained(target_path())


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_comes_back(tokenizer, text: str) -> None:  # type: ignore[no-untyped-def]
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_no_token_holds_two_digits(tokenizer) -> None:  # type: ignore[no-untyped-def]
    for token in range(len(tokenizer)):
        text = tokenizer.decode([token])
        assert sum(char.isdigit() for char in text) == 0 or len(text) == 1


@pytest.mark.parametrize(
    "text", ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>", "\n\n", "{", "}"]
)
def test_marks_are_one_token(tokenizer, text: str) -> None:  # type: ignore[no-untyped-def]
    assert len(tokenizer.encode(text, add_special_tokens=False)) == 1


def test_thinking_marks_survive_skipping_special_tokens(tokenizer) -> None:  # type: ignore[no-untyped-def]
    tokens = tokenizer.encode("<think>\na\n</think><|im_end|>", add_special_tokens=False)
    assert tokenizer.decode(tokens, skip_special_tokens=True) == "<think>\na\n</think>"


def test_the_chat_template_is_the_one_of_qwen3(tokenizer) -> None:  # type: ignore[no-untyped-def]
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1?"}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n1 + 1?<|im_end|>\n<|im_start|>assistant\n"
    )
    quiet = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    assert quiet == text + "<think>\n\n</think>\n\n"


def test_what_training_learns_from_is_what_the_template_makes(tokenizer) -> None:  # type: ignore[no-untyped-def]
    from laconic.models.reasoner.corpus import prompt

    chat = [{"role": "user", "content": "1 + 1?"}]
    assert prompt("1 + 1?") == tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)


def test_target_and_draft_share_it(tokenizer) -> None:  # type: ignore[no-untyped-def]
    other = AutoTokenizer.from_pretrained(draft_path())
    assert other.get_vocab() == tokenizer.get_vocab()
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
