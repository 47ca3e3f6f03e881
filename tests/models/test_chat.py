"""Prompts made of messages: how thinking is switched, what is taken, what is refused, where the reply begins."""

from __future__ import annotations

import re
from typing import Any

import pytest

from laconic import Engine, Format
from laconic.errors import RequestError
from laconic.models.text import Text
from laconic.remote import RemoteEngine
from tests import tiny
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


def test_a_level_that_was_asked_for_is_not_overruled_by_the_switch() -> None:
    insists = text("it insists on a level")
    assert "effort high" in insists.decode(insists.prompt("Why?"))
    assert "effort low" in insists.decode(insists.prompt("Why?", effort="low"))
    assert "effort low" in insists.decode(insists.prompt("Why?", keywords={"thinking_effort": "low"}))
    assert "effort none" in insists.decode(insists.prompt("Why?", effort="low", thinking=False))
    assert insists.thinking() is not None


def test_a_clock_does_not_hide_that_thinking_is_off_by_default() -> None:
    mine = Text(tokenizer("{{ strftime_now('%f') }}" + ROWS["mistral-small-4"].template))
    assert "[effort]high" in mine.decode(mine.prompt("Why?"))
    assert "[effort]none" in mine.decode(mine.prompt("Why?", thinking=False))


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
    other = [{"type": "input_text", "text": "W"}, "h", {"type": "output_text", "text": "y?"}]
    assert mine.prompt([{"role": "user", "content": other}]) == mine.prompt("Why?")
    assert mine.prompt([{"role": "user", "content": parts[0]}]) == mine.prompt("Wh")
    with pytest.raises(RequestError, match="'image_url'"):
        mine.prompt([{"role": "user", "content": [*parts, {"type": "image_url"}]}])
    with pytest.raises(RequestError, match="empty"):
        mine.prompt([{"role": "user", "content": []}])


@pytest.mark.parametrize(
    ("prompt", "says", "hint"),
    [
        (["a", "b"], "a list that holds something of type 'str'", "generate_many"),
        ([{"role": "user", "content": "a"}, None], "a list that holds None", "generate_many"),
        ([["a"]], "something of type 'list'", "generate_many"),
        (None, "the prompt is None", "generate_many"),
        (7, "the prompt is something of type 'int'", "a text, or a list of messages"),
        (b"Why?", "something of type 'bytes'", "a text, or a list of messages"),
        ({"role": "user", "content": "Why?"}, "one message", r"\[message\]"),
        ([{"content": "Why?"}], "no role", "'role': 'user'"),
        ([{"role": None, "content": "Why?"}], "no role", "'role': 'user'"),
        ([{"role": "user", "content": None}], "of every message is None", "Ask something"),
        ([{"role": "user", "content": 7}], "a part of type 'int'", "Only text"),
        ([{"role": "user", "content": [{"type": "text", "text": None}]}], "a part of type 'text'", "Only text"),
        ([], "empty", "Ask something"),
        ("  ", "empty", "Ask something"),
    ],
    ids=str,
)
def test_what_is_no_prompt_is_refused_with_what_to_do(prompt: Any, says: str, hint: str) -> None:
    with pytest.raises(RequestError, match=says) as caught:
        tiny.text().prompt(prompt)
    assert re.search(hint, caught.value.hint)


def test_a_turn_of_calls_alone_may_have_no_content() -> None:
    history = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": None}]
    assert tiny.text().prompt([*history, {"role": "user", "content": "So?"}])


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


@pytest.mark.parametrize("none", [None, "", {}])
def test_a_tokenizer_without_a_template_begins_texts_its_own_way(none: Any) -> None:
    made = tiny.tokenizer(template=none)
    assert Text(made).decode(Text(made).prompt("Why?")) == "Why?"
    from tokenizers.processors import TemplateProcessing

    made.bos_token = "<|endoftext|>"
    made._tokenizer.post_processor = TemplateProcessing(
        "<|endoftext|> $A", special_tokens=[("<|endoftext|>", made.bos_token_id)]
    )
    assert Text(made).decode(Text(made).prompt("Why?")) == "<|endoftext|>Why?"


def test_a_thought_that_was_cut_in_the_history_opens_nothing() -> None:
    history = [
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "<think>\nI was cut"},
        {"role": "user", "content": "So?"},
    ]
    assert tiny.text().ask(history)[1] == "before"


def test_thoughts_of_a_history_reach_the_template_in_its_own_field() -> None:
    made = tokenizer(
        turns("{% if '<think>' in m.content %}{{ raise_exception('tags in content') }}{% endif %}"
              "{% if m.thinking %}<think>{{ m.thinking }}</think>{% endif %}{{ m.content }}")
    )  # fmt: skip
    mine = Text(made)
    for thought in ({"reasoning_content": "Hm"}, {"reasoning": "Hm"}, {"thinking": "Hm"}):
        past = {"role": "assistant", "content": "Yes", **thought}
        asked = mine.prompt([{"role": "user", "content": "Why?"}, past, {"role": "user", "content": "So?"}])
        assert "<think>Hm</think>Yes" in mine.decode(asked)


def test_a_reply_in_channels_can_be_given_back_as_it_was_written() -> None:
    names = ("<|channel|>", "<|message|>", "<|end|>", "<|start|>")
    made = tokenizer(
        turns("{% if '<|channel|>' in m.content %}{{ raise_exception('channels in content') }}{% endif %}"
              "{% if m.thinking %}[{{ m.thinking }}]{% endif %}{{ m.content }}"),
        *names,
    )  # fmt: skip
    mine = Text(made)
    reply = mine.format.opens + "Hm" + mine.format.closes + "Yes"
    past = {"role": "assistant", "content": reply}
    asked = mine.decode(mine.prompt([{"role": "user", "content": "Why?"}, past, {"role": "user", "content": "So?"}]))
    assert "[Hm]Yes" in asked


def test_the_systems_words_and_keywords_of_a_model_come_with_every_question() -> None:
    made = tokenizer(turns("{{ m.content }}", before="{{ mood }}"))
    mine = Text(made, system="Be brief.", keywords={"mood": "glad"})
    said = mine.decode(mine.prompt("Why?"))
    assert said.startswith("glad")
    assert "Be brief." in said
    own = [{"role": "system", "content": "Be long."}, {"role": "user", "content": "Why?"}]
    assert "Be brief." not in mine.decode(mine.prompt(own))
    assert mine.decode(mine.prompt("Why?", keywords={"mood": "sad"})).startswith("sad")


def test_a_word_of_the_system_switches_thinking_off() -> None:
    mine = text("nemotron-nano-v2")
    tokens, phase = mine.ask(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}], thinking=False
    )
    assert phase == "answer"
    assert "Be brief.\n/no_think" in mine.decode(tokens)


@pytest.mark.parametrize(
    ("said", "opens", "closes"),
    [("think", "<think>", "</think>"), ("magistral", "[THINK]", "[/THINK]"), ("<a>,</a>", "<a>", "</a>"),
     ("none", "", ""), (Format("<b>", "</b>"), "<b>", "</b>")],
    ids=str,
)  # fmt: skip
def test_a_format_may_be_said_as_on_the_command_line(said: str | Format, opens: str, closes: str) -> None:
    found = Text(tiny.tokenizer(), format=said).format
    assert (found.opens, found.closes, found.source) == (opens, closes, "given")


@pytest.mark.parametrize("said", ["thnk", "<a>,", "", 7])
def test_what_is_no_format_is_refused_before_a_model_is_loaded(said: Any) -> None:
    for load in (
        lambda: Text(tiny.tokenizer(), format=said),
        lambda: Engine.load("nowhere/at-all", format=said),
        lambda: RemoteEngine.load("http://127.0.0.1:9/v1", format=said),
    ):
        with pytest.raises(RequestError, match="format"):
            load()
