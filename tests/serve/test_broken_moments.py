"""Thoughts ended from outside while the own engine does not run them: in the line, arriving, paused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from laconic import Request, Result, Sampling
from laconic.serve.backend import ENDED
from tests.serve.live import Live, bundled, joined, ok, own, serving, until

CHAT = "/v1/chat/completions"
QUESTION = "What is 37 * 48 + 15?"
LONG = "Think well about this, and take all the time that you need for it. " * 8 + QUESTION


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with serving(own(places=1, queue=4)) as made:
        yield made


def request(opened: bool) -> Request:
    if not opened:
        return replace(bundled().request(QUESTION, sampling=Sampling(0.6, seed=5)), drafts=False)
    made = bundled().request(LONG, sampling=Sampling(0.6, seed=5))
    return replace(made, drafts=False, prompt=(*made.prompt, *bundled().text.encode("<think>\n")), phase="thinking")


def concluded(moment: str, *, opened: bool, written: int = 0) -> Result:
    loop, engine = bundled().loop(), bundled()
    s = loop.arrive(request(opened))
    if moment == "partly read":
        loop.read(s, 64)
    if moment in ("joined", "paused"):
        while s not in loop.active:
            loop.read(s, 256)
        while s.generated < written:
            loop.step()
    if moment == "paused":
        loop.pause(s)
    assert loop.conclude(s, ENDED)
    if moment == "paused":
        loop.unpause(s)
    while s not in loop.active:
        loop.read(s, 100)
    while not s.done:
        loop.step()
    return engine.result(s)


@pytest.mark.parametrize("opened", [True, False])
@pytest.mark.parametrize("moment", ["arrived", "partly read", "paused"])
def test_it_is_as_if_it_had_run(moment: str, opened: bool) -> None:
    right, found = concluded("joined", opened=opened), concluded(moment, opened=opened)
    assert found.tokens == right.tokens
    assert found.events == right.events
    assert [event.method for event in found.events] == ["client"]
    assert found.answer


def test_one_that_is_paused_in_its_thought_goes_on_with_its_answer() -> None:
    right, found = (concluded(moment, opened=False, written=20) for moment in ("joined", "paused"))
    assert found.tokens == right.tokens


def test_one_in_the_line_is_concluded(live: Live) -> None:
    text = bundled().text
    endless = {
        "messages": [{"role": "user", "content": "What is 3 + 15?"}], "max_tokens": 1900, "stream": True,
        "logit_bias": dict.fromkeys(map(str, [text.close_token, *text.eos]), -100),
        "laconic": {"draft": False, "answer_room": 0},
    }  # fmt: skip
    waits = {"messages": [{"role": "user", "content": QUESTION}], "stream": True}
    with live.http.stream("POST", CHAT, json=endless) as first:
        running = first.iter_lines()  # which ends with its last reference
        next(running)
        with live.http.stream("POST", CHAT, json=waits) as reply:
            lines = reply.iter_lines()
            id = json.loads(next(lines)[6:])["id"]
            until(lambda: live.backend.load().waiting == 1)
            assert ok(live.http.post(f"/v1/requests/{id}/conclude"))["concluded"] == 1
            assert live.backend.load().waiting == 1
            first.close()
            (choice,) = joined([json.loads(line[6:]) for line in lines if line.startswith("data: {")])
    assert choice["message"]["content"]
    assert [event["method"] for event in choice["laconic"]["events"]] == ["client"]
    until(live.idle)
