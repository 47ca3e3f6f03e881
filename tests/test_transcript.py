"""Phases, steps, stop strings and tags, whatever tokens they fall into."""

from __future__ import annotations

import pytest
import tiny

from laconic import Limits, Markup, Request
from laconic.errors import RequestError, TokenizerMismatch
from laconic.models.text import Text
from laconic.transcript import Mark, Transcript

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
    plain = Text(tiny.tokenizer(tags_as_tokens=False), markup=Markup("<think>", "</think>"))
    assert plain.close_token is None
    transcript, marks = follow("<think>a < b\n\nso</think>done", text=plain)
    assert transcript.parts().thinking == "a < b\n\nso"
    assert transcript.parts().answer == "done"
    assert marks.count(Mark.CLOSED) == 1


def test_a_tag_counts_when_it_comes_and_not_while_it_is_there() -> None:
    """Words before the thought may hold a closing tag; the thought has an end of its own."""
    plain = Text(tiny.tokenizer(tags_as_tokens=False), markup=Markup("<think>", "</think>"))
    transcript, marks = follow("</think><think>a > b</think>done", text=plain)
    assert marks.count(Mark.CLOSED) == 1
    assert transcript.thinking == len("a > b</think>") + 1


def test_a_thought_of_an_earlier_turn_is_over() -> None:
    """What follows it in the prompt is the new turn, in which the model may think."""
    transcript, marks = follow("<think>new</think>5", prompt="Q<think>old</think>4\n\nAnd then? ")
    assert marks.count(Mark.CLOSED) == 1
    assert transcript.thinking == len(TEXT.encode("<think>new</think>"))


def test_a_model_without_tags_only_answers() -> None:
    plain = Text(tiny.tokenizer(tags_as_tokens=False, template=None))
    assert plain.markup is None
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
    text = Text(tiny.tokenizer(tags_as_tokens=False), markup=Markup("<think>", "</think>"))
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


def test_vocabularies_must_agree() -> None:
    other = tiny.text(tags_as_tokens=False)
    with pytest.raises(TokenizerMismatch, match="different vocabularies"):
        TEXT.same_vocabulary(other)
    TEXT.same_vocabulary(tiny.text())
