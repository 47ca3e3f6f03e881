"""Streams of written texts: pieces join to the result, tags and stop strings come whole or not at all."""

from __future__ import annotations

import pytest

from laconic import Engine, Format, Limits, Methods, Result, Step
from laconic.models.text import Text
from tests import tiny
from tests.fakes import Writes
from tests.test_transcript import ANALYSIS, HARMONY, NEXT

THINKS = tiny.text()
SEVERAL = Text(tiny.tokenizer(tags_as_tokens=False), format=Format("<think>", "</think>"))


def streamed(
    text: Text, reply: str, *, stop: tuple[str, ...] = (), think: tuple[str, ...] = (), most: int = 200, **asked: object
) -> tuple[list[Step], Result]:
    prompt = text.prompt("Why?", **asked)  # type: ignore[arg-type]
    model = Writes(len(prompt), text.encode(reply), len(text.tokenizer))
    stream = Engine(model, text, Methods(drafter="none", think=think)).stream(
        "Why?", limits=Limits(most, stop=stop), **asked
    )  # type: ignore[arg-type]
    steps = list(stream)
    assert "".join(step.text for step in steps) == stream.result.text
    return steps, stream.result


def said(steps: list[Step], kind: str) -> str:
    return "".join(step.text for step in steps if step.kind == kind)


@pytest.mark.parametrize("text", [THINKS, SEVERAL], ids=["one token", "several"])
def test_thought_and_answer_come_apart_and_the_end_token_is_not_shown(text: Text) -> None:
    steps, result = streamed(text, "<think>\na < b\n</think>\n\nYes.<|im_end|>")
    assert (said(steps, "thinking"), said(steps, "answer")) == ("<think>\na < b\n</think>", "\n\nYes.")
    assert (result.thinking, result.answer, result.finish_reason) == ("a < b", "Yes.", "stop")
    for step in steps:
        assert step.text.count("<think>") == step.text.count("<th")
        assert step.text.count("</think>") == step.text.count("</")


def test_a_stop_string_is_never_shown_and_no_text_before_it_is_lost() -> None:
    for stop in ("\n\nUser:", "Us"):
        steps, result = streamed(THINKS, "<think>a</think>It is\n\nUsual.\n\nUser: more<|im_end|>", stop=(stop,))
        assert stop not in "".join(step.text for step in steps)
        assert result.finish_reason == "stop"
        assert result.answer == ("It is\n\nUsual." if len(stop) > 2 else "It is")
    assert streamed(THINKS, "It is us<|im_end|>", stop=("user",))[1].answer == "It is us"


@pytest.mark.parametrize("text", [THINKS, SEVERAL], ids=["one token", "several"])
@pytest.mark.parametrize("thinking", [True, False])
def test_tags_inside_an_answer_are_words(text: Text, thinking: bool) -> None:
    reply = "Write <think> before it and </think> after it."
    _, result = streamed(text, f"{reply}<|im_end|>", think=("settled",), thinking=thinking)
    assert (result.thinking, result.answer, result.usage.thinking) == ("", reply, 0)
    assert not result.events


def test_a_tag_of_several_tokens_opens_the_thought_and_costs_the_answer_nothing() -> None:
    _, result = streamed(SEVERAL, "<think>a</think>one two<|im_end|>", think=("budget:50,answer=7",))
    assert (result.thinking, result.answer) == ("a", "one two")


@pytest.mark.parametrize("header", ["<|channel|>final<|message|>", "<|channel|>final <|constrain|>json<|message|>"])
def test_channels_stream_whole_headers(header: str) -> None:
    steps, result = streamed(HARMONY, f"{ANALYSIS}Hm.{NEXT}{header}{{}}<|im_end|>")
    assert (said(steps, "thinking"), said(steps, "answer")) == (f"{ANALYSIS}Hm.{NEXT}{header}", "{}")
    assert (result.thinking, result.answer) == ("Hm.", "{}")
    _, direct = streamed(HARMONY, f"{header}{{}}<|im_end|>", think=("settled", "budget:2"))
    assert (direct.thinking, direct.answer, direct.usage.thinking, direct.events) == ("", "{}", 0, ())


def test_a_call_is_written_to_its_end_under_every_limit_of_thought_and_answer() -> None:
    call = "<|channel|>commentary to=functions.look <|constrain|>json<|message|>{}<|call|>"
    reply = f"{ANALYSIS}I look.{NEXT}{call}"
    _, result = streamed(HARMONY, reply, think=("budget:20,answer=3", "settled"))
    assert (result.thinking, result.answer) == ("I look.", call.removesuffix("<|call|>"))
    assert (result.finish_reason, result.events) == ("stop", ())


def test_no_answer_of_nothing_but_a_header() -> None:
    form = Format("<think>", "</think>", bridge="<response>", headers=("<response>",), answer_end="</response>")
    text = Text(tiny.tokenizer(), format=form)
    _, result = streamed(text, "<think>ab" + "<|im_end|>" * 90, think=("budget:3",), most=140)
    assert "</think><response>" in result.text
    assert result.answer
