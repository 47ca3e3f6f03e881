"""Prompts made of messages: how thinking is switched, what is taken, what is refused, where the reply begins."""

from __future__ import annotations

import pytest
import tiny

from laconic.errors import RequestError
from laconic.models.text import Text
from tests.models.test_formats import ROWS, tokenizer, turns

SAID = ["mistral-small-4", "seed-oss", "granite-3.3", "an answer between tags", "apertus"]
"""Templates that switch thinking in the system's words alone."""


def text(row: str) -> Text:
    return Text(tokenizer(ROWS[row].template))


@pytest.mark.parametrize("row", ROWS)
def test_a_thinking_prompt_ends_as_the_family_has_it(row: str) -> None:
    mine = text(row)
    tokens, phase = mine.ask("Why?")
    assert mine.decode(tokens).endswith(ROWS[row].prompt_ends or "<|im_start|>assistant\n")
    assert phase == ("thinking" if ROWS[row].prompt_ends else "before")


@pytest.mark.parametrize("row", [row for row in ROWS if row not in SAID])
def test_without_thinking_the_reply_is_an_answer_and_nothing_is_written_twice(row: str) -> None:
    mine = text(row)
    tokens, phase = mine.ask("Why?", thinking=False)
    assert phase == ("before" if row == "minimax-m3" and "</mm:think>" not in mine.decode(tokens) else "answer")
    assert mine.decode(tokens).split("assistant")[-1].count(ROWS[row].closes) <= 1


@pytest.mark.parametrize("row", SAID)
def test_a_switch_in_the_system_text(row: str) -> None:
    mine = text(row)
    assert mine.prompt("Why?") != mine.prompt("Why?", thinking=False)
    assert mine.format.opens not in mine.decode(mine.prompt("Why?", thinking=False)).split("assistant")[-1]


def test_efforts_and_keywords_reach_the_template() -> None:
    kimi = text("kimi-k3")
    assert "effort low" in kimi.decode(kimi.prompt("Why?", effort="low"))
    assert "effort high" in kimi.decode(kimi.prompt("Why?", effort="low", keywords={"thinking_effort": "high"}))
    with pytest.raises(RequestError, match="no such effort"):
        kimi.prompt("Why?", keywords={"thinking_effort": "zzz"})


def test_thinking_that_cannot_be_switched_off_is_refused() -> None:
    unknown = Text(tokenizer(turns("{{ m.content }}", before="<|START_THINKING|>")))
    with pytest.raises(RequestError, match="cannot be switched off"):
        unknown.prompt("Why?", thinking=False)
    plain = Text(tokenizer(turns("{{ m.content }}")))
    assert plain.prompt("Why?", thinking=False) == plain.prompt("Why?")


def test_parts_of_text_are_taken_and_others_refused() -> None:
    mine = tiny.text()
    parts = [{"type": "text", "text": "Wh"}, {"type": "text", "text": "y?"}]
    assert mine.prompt([{"role": "user", "content": parts}]) == mine.prompt("Why?")
    with pytest.raises(RequestError, match="'image_url'"):
        mine.prompt([{"role": "user", "content": [*parts, {"type": "image_url"}]}])
    with pytest.raises(RequestError, match="empty"):
        mine.prompt([{"role": "user", "content": []}])


def test_a_template_that_refuses_is_quoted() -> None:
    refusing = Text(
        tokenizer("{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}x")
    )
    with pytest.raises(RequestError, match="no system here"):
        refusing.prompt([{"role": "system", "content": "a"}, {"role": "user", "content": "b"}])


def test_a_turn_that_was_begun_is_written_on() -> None:
    mine = tiny.text()
    messages = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because"}]
    tokens, phase = mine.ask(messages)
    assert mine.decode(tokens).endswith("<|im_start|>assistant\nBecause")
    assert phase == "answer"
    assert mine.ask(tiny.begun("Why?"))[1] == "thinking"


def test_a_tokenizer_without_a_template_begins_texts_its_own_way() -> None:
    made = tiny.tokenizer(template=None)
    assert Text(made).decode(Text(made).prompt("Why?")) == "Why?"
    from tokenizers.processors import TemplateProcessing

    made.bos_token = "<|endoftext|>"
    made._tokenizer.post_processor = TemplateProcessing(
        "<|endoftext|> $A", special_tokens=[("<|endoftext|>", made.bos_token_id)]
    )
    assert Text(made).decode(Text(made).prompt("Why?")) == "<|endoftext|>Why?"
