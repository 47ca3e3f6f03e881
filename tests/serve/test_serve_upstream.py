"""A model behind another server: the same replies as inside, and what goes wrong there is told."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from laconic import Engine, Methods
from laconic.models.remote import RemoteModel
from laconic.remote import RemoteEngine
from laconic.serve.behind import Behind
from laconic.serve.settings import Settings
from tests import tiny
from tests.fakes import Hashed
from tests.serve.live import Live, joined, offline, ok, refused, serving, until
from tests.server import Manners, Server, following

CHAT, TEXT = "/v1/chat/completions", tiny.text()
ASCII = {chr(code): 9.0 for code in range(32, 127)}
MODEL = Hashed(TEXT, {**ASCII, "\n\n": 12.5, "}": 13.0, "<|im_end|>": 8.0, "</think>": 9.5, "<think>": 4.0})
SLIPS = Hashed(TEXT, {**ASCII, "\n\n": 12.5, "}": 13.0, "<|im_end|>": 13.0, "</think>": 5.0, "<think>": 4.0})
"""Ends its text wherever it is, its thought as a rule."""
BLANK = Hashed(TEXT, {"\n\n": 99.0})
"""Never begins."""
ENDLESS = Hashed(TEXT, {**ASCII, "\n\n": 12.5, "<|im_end|>": -99.0, "</think>": -99.0})


@contextmanager
def upstream(
    model: Hashed = MODEL, think: tuple[str, ...] = (), manners: Manners | None = None, **options: Any
) -> Iterator[tuple[Live, Server]]:
    with Server(following(model.after), TEXT, manners or Manners()) as server:
        remote = RemoteEngine(RemoteModel(server.url, "tiny", retries=0), TEXT, think, context=512)
        with serving(Behind(remote, **options), Settings(grace=2.0)) as live:
            yield live, server


def asked(at: int = 0, thought: str = "<think>\n", **more: Any) -> dict[str, Any]:
    """A question whose reply has been begun with an opening tag."""
    messages = [{"role": "user", "content": f"What is {at}+{at}?"}, {"role": "assistant", "content": thought}]
    return {"messages": messages, "max_tokens": 120, "temperature": 0, **more}


def inside(body: dict[str, Any], model: Hashed = MODEL, think: tuple[str, ...] = ()) -> Any:
    return offline(body, Engine(model, TEXT, Methods(drafter="none", think=think)))


THINK = {"free": (), "a budget": ("budget:17",), "an exit": ("answer-agreement:1,tokens=7,text=The sum is {",)}
BODIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "a stop string": {"stop": ["e"]},
    "a budget of the client's": {"thinking_token_budget": 9},
    "a tight limit": {"max_tokens": 24},
    "bias": {"logit_bias": {str(code): -100.0 for code in range(97, 110)}},
}


@pytest.mark.parametrize("think", THINK)
def test_streamed_as_whole_as_inside(think: str) -> None:
    with upstream(think=THINK[think]) as (live, _):
        for at in range(3):
            for body in BODIES.values():
                whole = live.chat(asked(at, **body))["choices"][0]
                (streamed,) = joined(live.streamed(CHAT, asked(at, **body)))
                result = inside(asked(at, **body), think=THINK[think])
                for choice in (whole, streamed):
                    message = choice["message"]
                    again = any("once more" in note for note in choice["laconic"].get("notes", ()))
                    assert again == (choice is streamed and "</think>" in result.text.partition("</think>")[2])
                    content = message["content"].rpartition("\n\n")[2] if again else message["content"]
                    assert content == result.answer
                    assert (message["reasoning"] or "") == result.thinking
                    assert choice["finish_reason"] == result.finish_reason
                    used = choice["laconic"]["usage"]
                    assert (used["thinking"], used["injected"]) == (result.usage.thinking, result.usage.injected)
        until(live.idle)


def test_the_end_of_a_text_inside_the_thought_loses_no_answer() -> None:
    plain = [inside(asked(at, laconic={"answer_room": 0}), SLIPS) for at in range(6)]
    assert any(not result.answer and result.finish_reason == "stop" for result in plain)
    with upstream(SLIPS) as (live, _):
        for at in range(6):
            choice = live.chat(asked(at))["choices"][0]
            assert choice["message"]["content"]
            assert choice["message"]["content"] == inside(asked(at), SLIPS).answer


def test_several_replies_and_seeds() -> None:
    with upstream() as (live, _):
        body = asked(1, temperature=1.0, n=3, seed=5)
        one, other = live.chat(body), live.chat(body)
        texts = [choice["message"]["reasoning"] for choice in one["choices"]]
        assert len(set(texts)) == 3
        assert texts == [choice["message"]["reasoning"] for choice in other["choices"]]


FAULTS = [
    Manners(fault="status", status=500), Manners(fault="status", status=401), Manners(fault="status", status=404),
    Manners(fault="text"), Manners(fault="shape"), Manners(fault="drop"),
]  # fmt: skip


@pytest.mark.parametrize("manners", FAULTS, ids=lambda manners: f"{manners.fault} {manners.status}")
def test_what_goes_wrong_upstream_is_a_bad_gateway(manners: Manners) -> None:
    with upstream(manners=manners) as (live, server):
        assert live.error(asked(), 502)["code"] == "upstream_error"
        with live.http.stream("POST", CHAT, json=asked(stream=True, n=2)) as reply:
            lines = [line for line in reply.iter_lines() if line]
        assert json.loads(lines[-1][6:])["error"]["code"] == "upstream_error"
        until(live.idle)
        manners.fault = ""
        assert live.chat(asked())["choices"][0]["message"]["content"]
        assert server.busy == 0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"logprobs": True}, "logprobs"),
        ({"prediction": {"type": "content", "content": "8"}}, "prediction"),
        ({"laconic": {"draft": False}}, "laconic.draft"),
        ({"presence_penalty": 1}, "presence_penalty"),
        ({"laconic": {"think": "steer:x"}}, ""),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(body: dict[str, Any], words: str) -> None:
    with upstream() as (live, server):
        before = len(server.seen)
        assert words in live.error(asked(**body), 400)["message"]
        assert len(server.seen) == before


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_is_waited_for_no_longer(stream: bool) -> None:
    with upstream(ENDLESS, manners=Manners(delay=0.05)) as (live, server):
        with live.http.stream("POST", CHAT, json=asked(stream=True, max_tokens=400)) if stream else _later(live) as _:
            until(lambda: server.busy > 0)
        until(live.idle)
        seen = len(server.seen)
        until(lambda: server.busy == 0)
        assert len(server.seen) <= seen + 1


@contextmanager
def _later(live: Live) -> Iterator[None]:
    """A whole reply that is not waited for."""
    content = json.dumps(asked(max_tokens=400)).encode()
    lines = [f"POST {CHAT} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    head = "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""])
    with socket.create_connection(("127.0.0.1", live.port)) as made:
        made.sendall(head.encode() + content)
        yield


def test_a_thought_is_concluded() -> None:
    with upstream(ENDLESS, manners=Manners(delay=0.03)) as (live, _):
        with live.http.stream("POST", CHAT, json=asked(stream=True, max_tokens=300)) as reply:
            id, lines = reply.headers["x-request-id"], reply.iter_lines()
            for line in lines:
                if '"reasoning":"' in line:
                    break
            assert ok(live.http.post(f"/v1/requests/{id}/conclude"))["concluded"] == 1
            (choice,) = joined([json.loads(line[6:]) for line in lines if line.startswith("data: {")])
        assert choice["message"]["content"]
        assert ("client", "conclude") in [(e["method"], e["action"]) for e in choice["laconic"]["events"]]
        assert choice["laconic"]["usage"]["thinking"] < 200


def test_who_wants_the_answer_and_goes_is_gone() -> None:
    """What is broken off for the one is not to be taken for the other."""
    with upstream(BLANK, manners=Manners(delay=0.05)) as (live, server):
        body = {"messages": [{"role": "user", "content": "Hm?"}], "max_tokens": 400, "stream": True}
        with live.http.stream("POST", CHAT, json=body) as reply:
            until(lambda: server.busy > 0)
            assert ok(live.http.post(f"/v1/requests/{reply.headers['x-request-id']}/conclude"))["concluded"] == 1
        until(live.idle, 5)


def test_a_full_queue() -> None:
    with upstream(ENDLESS, manners=Manners(delay=0.05), places=1, queue=1) as (live, _):
        with ThreadPoolExecutor(3) as pool:
            said = list(pool.map(lambda _: live.post(CHAT, asked(max_tokens=30)).status_code, range(3)))
        assert sorted(said) == [200, 200, 429]
        until(live.idle)
    with upstream(places=1, queue=0) as (live, _):
        assert live.chat(asked())["choices"]


def test_at_the_end_those_under_way_are_told() -> None:
    with upstream(ENDLESS, manners=Manners(delay=0.2)) as (live, server), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(live.post, CHAT, asked(max_tokens=400))
        until(lambda: len(server.seen) > 1)
        stopping = asyncio.run_coroutine_threadsafe(live.backend.stop(0.1), live.loop)
        assert refused(waiting.result(), 503)["code"] == "not_ready"
        stopping.result(10)
        assert live.error(asked(), 503)["code"] == "not_ready"
