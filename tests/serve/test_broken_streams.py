"""What a stream adds up to: answers behind a second closing tag, silence, counts; keys that are no ASCII."""

from __future__ import annotations

import time

import pytest

from laconic import Engine, Format, Limits, Methods
from laconic.errors import RequestError
from laconic.models.text import Text
from laconic.serve import app
from laconic.serve.job import Told
from laconic.serve.replies import Streamed
from laconic.serve.settings import Settings
from laconic.types import Request
from tests import tiny
from tests.fakes import Writes
from tests.serve.live import bundled, ok, own, serving

CHAT = "/v1/chat/completions"
TEXTS = {
    "one token": tiny.text(),
    "several": Text(tiny.tokenizer(tags_as_tokens=False), format=Format("<think>", "</think>")),
}


@pytest.mark.parametrize("tags", TEXTS)
@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("<think>a b</think>It is 4.</think>It is 5.<|im_end|>", "It is 5."),
        ("<think>a b</think>first</think> No </think>It is 5.<|im_end|>", "It is 5."),
        ("<think>a b</think></think>5<|im_end|>", "5"),
        ("<think>a b</think>4</think><|im_end|>", "4"),
        ("<think>a b</think>4 < 5</thin<|im_end|>", "4 < 5</thin"),
    ],
)
def test_an_answer_that_begins_anew_is_streamed_whole(tags: str, reply: str, answer: str) -> None:
    text, sent, content, thought = TEXTS[tags], Streamed(), "", ""
    prompt = text.prompt("Why?")
    model = Writes(len(prompt), text.encode(reply), len(text.tokenizer))
    engine = Engine(model, text, Methods(drafter="none"))
    loop = engine.loop()
    s = loop.add(engine.request("Why?", limits=Limits(200)))
    while not s.done:
        loop.step()
        steps = tuple(s.drain())
        told = Told(steps, s.shown() if steps else None, result=engine.result(s) if s.done else None)
        new = sent.more(told)
        content, thought = content + new.get("content", ""), thought + new.get("reasoning", "")
    result = engine.result(s)
    assert result.answer == answer
    assert content == answer or content.endswith(f"\n\n{answer}")
    assert thought == result.thinking
    assert "</thin" not in content or answer.endswith("</thin")


def test_a_stream_of_which_nothing_is_shown_says_that_it_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thought is hidden, so that none of its news are sent."""
    monkeypatch.setattr(app, "_QUIET", 0.05)
    text = bundled().text
    ends = dict.fromkeys(map(str, [text.close_token, *text.eos]), -100)
    body = {
        "messages": [{"role": "user", "content": "What is 3 + 15?"}], "max_tokens": 600, "stream": True,
        "include_reasoning": False, "logit_bias": ends, "laconic": {"draft": False, "answer_room": 0},
    }  # fmt: skip
    with serving(own()) as live:
        begun = time.monotonic()
        with live.http.stream("POST", CHAT, json=body) as reply:
            lines = [line for line in reply.iter_lines() if line]
        spent = time.monotonic() - begun
    assert lines.count(": waiting") >= min(2, int(spent / 0.2))
    assert spent > 0.2


def test_the_prompt_is_counted_as_it_was_read() -> None:
    """A controller has put words below the question."""
    with serving(own(bundled().using(think=("be-concise",)))) as live:
        hinted, plain = (
            live.chat({"max_tokens": 40, "seed": 1, **more})["usage"]["prompt_tokens"]
            for more in ({}, {"laconic": {"think": "none"}})
        )
    assert hinted > plain


@pytest.mark.parametrize("key", ["schlüssel-für-alle", "ключ-для-всех", "voilà-à-à-à-à"])
def test_keys_of_any_letters(key: str) -> None:
    with serving(own(), Settings(keys=(key,), grace=2.0)) as live:
        for header in ({b"authorization": b"Bearer " + key.encode()}, {b"x-api-key": key.encode()}):
            ok(live.http.get("/v1/models", headers=list(header.items())))
        assert live.http.get("/v1/models", headers={"x-api-key": "another-key"}).status_code == 401


def test_a_prompt_that_is_too_long_leaves_no_slot_behind() -> None:
    engine = bundled()
    loop, slot = engine.loop(), engine.target.open()
    with pytest.raises(RequestError, match="context"):
        loop.arrive(Request(tuple([1] * engine.target.context)), slot)
    assert not engine.target.slots
