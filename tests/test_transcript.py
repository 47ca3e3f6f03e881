"""Phases, steps, stop strings and tags, whatever tokens they fall into."""

from __future__ import annotations

import pytest

from laconic import Format, Limits, Request
from laconic.errors import RequestError
from laconic.models.text import Text
from laconic.transcript import Mark, Transcript
from tests import tiny
from tests.models.test_formats import tokenizer, turns

TEXT = tiny.text()


def follow(
    written: str, *, prompt: str = "Q: ", text: Text = TEXT, stop: tuple[str, ...] = ()
) -> tuple[Transcript, list[Mark]]:
    request = Request(tuple(text.encode(prompt)), limits=Limits(stop=stop))
    transcript = Transcript(text, request, list(request.prompt), keep_steps=True)
    marks = []
    for token in text.encode(written):
        marks.append(transcript.push(token))
        if marks[-1] is Mark.FINISHED:
            break
    return transcript, marks


def test_phases_steps_and_parts() -> None:
    transcript, marks = follow("<think>\none\n\ntwo\n\nthree\n</think>\n\nfour<|im_end|>")
    assert transcript.steps == ["one", "two"]
    assert marks.count(Mark.STEP) == 2
    assert marks.count(Mark.CLOSED) == 1
    assert marks[-1] is Mark.FINISHED
    parts = transcript.parts()
    assert (parts.thinking, parts.answer) == ("one\n\ntwo\n\nthree", "four")
    assert parts.text == "<think>\none\n\ntwo\n\nthree\n</think>\n\nfour"
    thought = TEXT.encode("<think>\none\n\ntwo\n\nthree\n</think>")
    assert transcript.count("thinking") == transcript.thinking == len(thought)
    assert transcript.count("answer") == len(TEXT.encode("\n\nfour<|im_end|>"))


def test_a_blank_line_may_be_two_tokens_and_blank_steps_do_not_count() -> None:
    newline = TEXT.encode("\n")
    transcript, _ = follow("<think>\nfirst")
    assert transcript.push(*newline) is Mark.NONE
    assert transcript.push(*newline) is Mark.STEP
    assert transcript.push(*TEXT.encode("\n\n")) is Mark.NONE
    assert transcript.steps == ["first"]


def test_where_no_steps_are_kept_they_end_all_the_same() -> None:
    request = Request(tuple(TEXT.encode("Q<think>\n")))
    transcript = Transcript(TEXT, request, list(request.prompt))
    marks = [transcript.push(token) for token in TEXT.encode("\na\n\n")]
    assert marks == [Mark.NONE, Mark.NONE, Mark.STEP]
    assert (transcript.steps, transcript.step) == ([], 0)


def test_a_prompt_may_open_the_thought_or_close_it() -> None:
    assert follow("why\n</think>x", prompt="Q<think>\n")[0].parts().thinking == "why"
    answered, _ = follow("at once", prompt="Q<think>\n\n</think>\n\n")
    assert (answered.phase, answered.parts().answer, answered.thinking) == ("answer", "at once", 0)


def test_tags_of_several_tokens() -> None:
    plain = Text(tiny.tokenizer(tags_as_tokens=False), format=Format("<think>", "</think>"))
    assert plain.close_token is None
    transcript, marks = follow("<think>a < b\n\nso</think>done", text=plain)
    assert transcript.parts().thinking == "a < b\n\nso"
    assert transcript.parts().answer == "done"
    assert marks.count(Mark.CLOSED) == 1


def test_a_tag_counts_when_it_comes_and_not_while_it_is_there() -> None:
    """Not at every token that may end a tag, before it or behind it."""
    plain = Text(tiny.tokenizer(tags_as_tokens=False), format=Format("<think>", "</think>"))
    transcript, marks = follow("<think>a > b</think>c > d", text=plain)
    assert marks.count(Mark.CLOSED) == 1
    assert transcript.thinking == len("<think>a > b</think>")


def test_a_tag_is_not_seen_again_behind_a_call_of_a_tool() -> None:
    """A call in the thought is over; what has the last character of its tag begins no other."""
    calls = Format("<think>", "</think>", asides=("<call>",), aside_end="</call>")
    plain = Text(tiny.tokenizer(tags_as_tokens=False), format=calls)
    transcript, marks = follow("<think>a<call>b</call>c > d</think>done", text=plain)
    assert marks.count(Mark.CLOSED) == 1
    assert transcript.parts().answer == "done"


def test_a_thought_of_an_earlier_turn_is_over() -> None:
    """What follows it in the prompt is the new turn, in which the model may think."""
    transcript, marks = follow("<think>new</think>5", prompt="Q<think>old</think>4\n\nAnd then? ")
    assert marks.count(Mark.CLOSED) == 1
    assert transcript.thinking == len(TEXT.encode("<think>new</think>"))


def test_a_model_without_tags_only_answers() -> None:
    plain = Text(tiny.tokenizer(tags_as_tokens=False, template=None))
    assert not plain.format.thinks
    transcript, marks = follow("a\n\nb", text=plain)
    assert set(marks) == {Mark.NONE}
    assert transcript.parts().answer == "a\n\nb"


@pytest.mark.parametrize(("stop", "answer"), [("STOP", "go on "), ("n S", "go o"), ("on STOP now", "go")])
def test_stop_strings_cut_the_answer_even_inside_a_token(stop: str, answer: str) -> None:
    transcript, marks = follow("<think>\nSTOP n S on STOP now\n</think>\n\ngo on STOP now", stop=(stop,))
    assert marks[-1] is Mark.FINISHED
    assert transcript.parts().answer == answer.strip()
    assert stop not in transcript.parts().answer
    assert transcript.parts().thinking == "STOP n S on STOP now"


def test_looking_for_stop_strings_does_not_grow_with_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    text = tiny.text()
    decoded: list[int] = []
    decode = text.decode
    monkeypatch.setattr(text, "decode", lambda tokens: decoded.append(len(tokens)) or decode(tokens))
    follow("a b " * 100, text=text, stop=("STOP", "x" * 60))
    assert max(decoded) == 60


def test_restore_takes_everything_back() -> None:
    transcript, _ = follow("<think>\none\n\n")
    point = transcript.snapshot()
    for token in TEXT.encode("two\n\n</think>ans"):
        transcript.push(token)
    transcript.restore(point)
    assert transcript.snapshot() == point
    assert (transcript.phase, transcript.steps, transcript.thinking) == ("thinking", ["one"], len(transcript.kinds))


def test_a_long_draft_is_forgotten_whole() -> None:
    """A tag that a draft was looked at within: where it began is still known when it ends."""
    text = Text(tiny.tokenizer(tags_as_tokens=False), format=Format("<think>", "</think>"))
    tag = text.encode("</think>")
    transcript, _ = follow("<think>\none", text=text)
    began = len(transcript.tokens)
    for token in tag[:-1]:
        transcript.push(token)
    with transcript.supposing() as here:
        for token in text.encode("x" * 200 + "\n\n"):
            transcript.push(token)
    assert transcript.snapshot() == here
    assert transcript.steps == []
    assert transcript.push(tag[-1]) is Mark.CLOSED
    point, left = transcript.before_the_end()
    assert (point.length, left) == (began, "")


def test_prompts() -> None:
    assert TEXT.decode(TEXT.prompt("Hi")).endswith("Hi<|im_end|>\n<|im_start|>assistant\n")
    assert TEXT.decode(TEXT.prompt("Hi", thinking=False)).endswith("<think>\n\n</think>\n\n")
    chat = TEXT.decode(TEXT.prompt([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]))
    assert "Be brief." in chat
    for empty in ("", "  \n", []):
        with pytest.raises(RequestError, match="empty"):
            TEXT.prompt(empty)
    with pytest.raises(RequestError, match="empty"):
        Request(())


def test_whether_vocabularies_agree() -> None:
    assert not TEXT.same_vocabulary(tiny.text(tags_as_tokens=False))
    assert TEXT.same_vocabulary(tiny.text())


SEVERAL = Text(tiny.tokenizer(tags_as_tokens=False), format=Format("<think>", "</think>"))


@pytest.mark.parametrize("text", [TEXT, SEVERAL], ids=["one token", "several"])
def test_tags_in_the_users_words_or_in_the_answer_are_words(text: Text) -> None:
    def reply(messages: object, written: str, *, thinking: bool = True) -> tuple[str, str, str]:
        tokens, phase = text.ask(messages, thinking=thinking)  # type: ignore[arg-type]
        transcript = Transcript(text, Request(tokens, phase=phase), list(tokens), keep_steps=True)
        for token in text.encode(written):
            transcript.push(token)
        parts = transcript.parts()
        assert transcript.count("thinking") == transcript.thinking
        assert transcript.count("answer") == transcript.answer
        return parts.thinking, parts.answer, transcript.phase

    assert reply("Explain the tag <think> to me.", "It opens.") == ("", "It opens.", "answer")
    said = "Write <think> before it and </think> after it."
    assert reply("How?", said) == ("", said, "answer")
    assert reply("How?", said, thinking=False) == ("", said, "answer")
    history = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "<think>\ncut"}]
    assert reply([*history, {"role": "user", "content": "b"}], "Well.") == ("", "Well.", "answer")
    assert reply([*history], " off</think>done")[:2] == ("off", "done"), "a turn that was begun is written on"


def test_an_opening_tag_of_several_tokens_is_thought_from_its_first() -> None:
    tag = SEVERAL.encode("<think>")
    transcript, _ = follow("<thi", text=SEVERAL)
    assert (transcript.count("thinking"), transcript.phase) == (len(SEVERAL.encode("<thi")), "before")
    with transcript.supposing() as here:
        for token in SEVERAL.encode("s is no tag"):
            transcript.push(token)
        assert (transcript.phase, transcript.thinking) == ("answer", 0)
        assert set(transcript.kinds) == {"answer"}
    assert transcript.snapshot() == here
    assert set(transcript.kinds) == {"thinking"}
    for token in tag[len(SEVERAL.encode("<thi")) :]:
        transcript.push(token)
    assert (transcript.phase, transcript.thinking, transcript.answer) == ("thinking", len(tag), 0)


@pytest.mark.parametrize("text", [TEXT, SEVERAL], ids=["one token", "several"])
def test_a_second_closing_tag_is_not_part_of_the_answer(text: Text) -> None:
    parts = follow("<think>\none\n</think>\n\nmore\n</think>\n\nfour", text=text)[0].parts()
    assert parts.answer == "four"
    assert "more" in parts.thinking
    assert follow("<think>\none</think>four</think>", text=text)[0].parts().answer == "four"


@pytest.mark.parametrize("blank", ["\n\n", "\n \n", "\r\n\r\n", "\n\t\n"])
def test_a_blank_line_may_hold_white_space(blank: str) -> None:
    transcript, marks = follow(f"<think>\none{blank}two{blank}")
    assert marks.count(Mark.STEP) == 2
    assert transcript.steps == ["one", "two"]


def test_headers_of_the_answer_are_not_part_of_it() -> None:
    form = Format("<think>", "</think>", "<response>", headers=("<response>",), answer_end="</response>")
    text = Text(tiny.tokenizer(tags_as_tokens=False), format=form)
    written = "<think>one</think><response>four</response>"
    assert follow(written, text=text)[0].parts().answer == "four"


def test_what_stands_before_another_closing_tag_counts_as_thought() -> None:
    transcript, _ = follow("<think>a</think>Hm, no.</think>\n\nYes<|im_end|>")
    assert (transcript.parts().thinking, transcript.parts().answer) == ("aHm, no.", "Yes")
    assert transcript.told().count("thinking") == len(TEXT.encode("<think>a</think>Hm, no.</think>"))
    assert transcript.told().count("answer") == len(TEXT.encode("\n\nYes<|im_end|>"))
    alone, _ = follow("<think>a</think>Yes</think><|im_end|>")
    assert (alone.parts().answer, alone.told()) == ("Yes", alone.kinds)


HARMONY = Text(
    tokenizer(
        turns("{{ m.content }}"), "<|channel|>", "<|message|>", "<|end|>", "<|start|>", "<|constrain|>", "<|call|>"
    ),
    eos=tokenizer(None, "<|channel|>", "<|message|>", "<|end|>", "<|start|>", "<|constrain|>", "<|call|>").encode(
        "<|call|>"
    ),
)
ANALYSIS = "<|channel|>analysis<|message|>"
NEXT = "<|end|><|start|>assistant"


def channels(written: str) -> tuple[Transcript, list[Mark]]:
    return follow(written, prompt="Why?<|start|>assistant", text=HARMONY)


def test_a_direct_final_is_the_answer() -> None:
    for header in ("<|channel|>final<|message|>", "<|channel|>final <|constrain|>json<|message|>"):
        transcript, _ = channels(f"{header}Because.<|im_end|>")
        assert (transcript.phase, transcript.thinking) == ("answer", 0)
        assert (transcript.parts().thinking, transcript.parts().answer) == ("", "Because.")


def test_a_constrained_final_ends_the_thought() -> None:
    transcript, marks = channels(
        ANALYSIS + "one\n\ntwo" + NEXT + "<|channel|>final <|constrain|>json<|message|>{}<|im_end|>"
    )
    assert marks.count(Mark.CLOSED) == 1
    assert transcript.steps == ["one"]
    assert (transcript.parts().thinking, transcript.parts().answer) == ("one\n\ntwo", "{}")
    assert transcript.answer == len(HARMONY.encode("{}<|im_end|>"))


@pytest.mark.parametrize(
    "call",
    [
        "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}",
        " to=functions.f<|channel|>commentary json<|message|>{}",
    ],
)
def test_a_call_in_the_commentary_channel_ends_the_request_and_is_no_thought(call: str) -> None:
    transcript, marks = channels(ANALYSIS + "I look." + NEXT + call + "<|call|>")
    assert (transcript.phase, marks[-1], transcript.answer) == ("aside", Mark.FINISHED, 0)
    assert Mark.CLOSED not in marks
    assert transcript.thinking < len(HARMONY.encode(ANALYSIS + "I look." + NEXT + call))
    assert (transcript.parts().thinking, transcript.parts().answer) == ("I look.", call.strip())
    assert channels(call + "<|call|>")[0].parts().answer == call.strip()


def test_a_comment_between_thoughts_is_neither_thought_nor_answer() -> None:
    transcript, _ = channels(
        ANALYSIS + "a" + NEXT + "<|channel|>commentary<|message|>Wait for me." + NEXT + ANALYSIS + "b" + NEXT
        + "<|channel|>final<|message|>c<|im_end|>"
    )  # fmt: skip
    assert (transcript.parts().thinking, transcript.parts().answer) == ("a\n\nb", "c")
    assert not transcript.thinks


def test_a_header_that_is_half_written_is_not_cut() -> None:
    transcript, _ = channels(ANALYSIS + "a" + NEXT + "<|channel|>fi")
    assert (transcript.phase, transcript.thinks) == ("thinking", False)
    with transcript.supposing():
        for token in HARMONY.encode("nal<|message|>x"):
            transcript.push(token)
        assert transcript.phase == "answer"
    assert (transcript.phase, transcript.thinks) == ("thinking", False)


CALLS = Text(tiny.tokenizer(), format=Format("<think>", "</think>", asides=("<tool_call>",), aside_end="</tool_call>"))


def test_a_call_inside_an_open_thought() -> None:
    transcript, marks = follow("<think>\nLet me look.\n<tool_call>{}</tool_call><|im_end|>", text=CALLS)
    assert (transcript.phase, marks[-1], transcript.answer) == ("aside", Mark.FINISHED, 0)
    assert (transcript.parts().thinking, transcript.parts().answer) == ("Let me look.", "<tool_call>{}</tool_call>")
    more, _ = follow("<think>\nA tag <tool_call>{}</tool_call> is meant.</think>Yes<|im_end|>", text=CALLS)
    assert more.parts().thinking == "A tag <tool_call>{}</tool_call> is meant."
    assert more.parts().answer == "Yes"
    assert more.answer == len(CALLS.encode("Yes<|im_end|>"))
    assert (
        follow("<think>a</think>b <tool_call>{}</tool_call>", text=CALLS)[0].parts().answer
        == "b <tool_call>{}</tool_call>"
    )


def test_a_reply_that_begins_with_a_call_is_an_aside() -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.add_tokens(["[CALL]"])
    form = Format("<think>", "</think>", asides=("[CALL]", "<tool_call>"))  # which nothing ends
    for call in ("[CALL]", "<tool_call>"):  # one token, and several
        transcript, _ = follow(f"{call}f(1)<|im_end|>", prompt="Hi", text=Text(tokenizer, format=form))
        assert (transcript.phase, transcript.parts().answer) == ("aside", f"{call}f(1)")
        assert transcript.answer <= (0 if call == "[CALL]" else len(call))
