"""The life of a request: clients that go, queues that are full, thoughts that are ended, passes that fail."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from laconic import Limits
from laconic.errors import BrokenLogits
from laconic.serve.app import application
from laconic.serve.backend import Busy
from laconic.serve.job import Job
from laconic.serve.runner import CHUNK
from laconic.serve.settings import Bounds, Settings
from tests.serve.live import QUESTION, Live, bundled, joined, offline, ok, own, refused, serving, until

CHAT = "/v1/chat/completions"


def endless(**more: Any) -> dict[str, Any]:
    """A request that writes up to its limit, a token a pass."""
    text = bundled().text
    ends = dict.fromkeys(map(str, [text.close_token, *text.eos]), -100)
    return {
        "messages": [{"role": "user", "content": QUESTION}], "logit_bias": ends, "max_tokens": 1900,
        "laconic": {"draft": False, "answer_room": 0}, **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with serving(own(places=2, queue=2)) as made:
        yield made


@pytest.fixture(autouse=True)
def _nothing_is_left(live: Live) -> Iterator[None]:
    yield
    until(live.idle)
    until(lambda: not bundled().target.slots)


def passes(live: Live) -> int:
    return int(live.backend.pulse()["passes"])


LEFT, WRITTEN = "laconic:requests_left_total", "vllm:generation_tokens_total"


def metric(live: Live, name: str) -> int:
    """One of the sums that the server tells."""
    lines = live.http.get("/metrics").text.splitlines()
    return next(int(float(line.split()[-1])) for line in lines if line.startswith(name))


def begun(lines: Iterator[str]) -> str:
    """Read a stream until something was written; its first chunk's id."""
    id = ""
    for line in lines:
        if line.startswith("data: "):
            id = id or json.loads(line[6:])["id"]
            if '"reasoning":"' in line:
                return id
    raise AssertionError("nothing came")


def sent(live: Live, body: dict[str, Any]) -> socket.socket:
    """A request over a connection that can be cut."""
    content = json.dumps(body).encode()
    lines = [f"POST {CHAT} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    head = "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""])
    made = socket.create_connection(("127.0.0.1", live.port))
    made.sendall(head.encode() + content)
    return made


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_frees_its_place_within_a_pass(live: Live, stream: bool, n: int) -> None:
    before, left = passes(live), metric(live, LEFT)
    written = metric(live, WRITTEN)
    connection = sent(live, endless(stream=stream, n=n))
    until(lambda: passes(live) > before + 5)
    connection.close()
    until(lambda: not live.state.jobs.by_id)
    noticed = passes(live)
    until(live.idle)
    assert not bundled().target.slots
    assert passes(live) <= noticed + 2
    assert metric(live, LEFT) == left + n
    assert metric(live, WRITTEN) >= written + 5  # what nobody read was written all the same


def test_a_client_that_goes_while_it_waits_is_never_served(live: Live) -> None:
    running = [sent(live, endless()) for _ in range(2)]
    until(lambda: live.backend.load().running == 2)
    waiting = sent(live, endless())
    until(lambda: live.backend.load().waiting == 1)
    waiting.close()
    until(lambda: live.backend.load().waiting == 0)
    assert live.backend.load().running == 2
    for connection in running:
        connection.close()


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_before_the_reply_begins(live: Live, stream: bool) -> None:
    """The connection is gone at the first look, which no server over a socket shows every time."""
    body = json.dumps(endless(stream=stream)).encode()
    app = application(live.backend, Settings())
    server = app.app.state.server  # type: ignore[attr-defined]
    sent_back: list[Any] = []

    async def ask() -> None:
        coming = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Any:
            return next(coming, {"type": "http.disconnect"})

        async def send(message: Any) -> None:
            await asyncio.sleep(0.05)  # as where nobody reads
            sent_back.append(message)

        headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": CHAT, "raw_path": CHAT.encode(), "query_string": b"",
                 "headers": headers, "asgi": {"spec_version": "2.3"}, "http_version": "1.1", "scheme": "http",
                 "server": None, "client": None, "root_path": ""}  # fmt: skip
        await app(scope, receive, send)

    asyncio.run_coroutine_threadsafe(ask(), live.loop).result(10)
    assert not server.jobs.by_id
    until(live.idle)


def test_a_full_queue_says_when_to_come_again(live: Live) -> None:
    connections = []
    for running, waiting in ((1, 0), (2, 0), (2, 1), (2, 2)):
        connections.append(sent(live, endless()))
        until(lambda r=running, w=waiting: (live.backend.load().running, live.backend.load().waiting) == (r, w))
    for body in (endless(), endless(stream=True), {"messages": endless()["messages"], "n": 2}):
        reply = live.post(CHAT, body)
        assert refused(reply, 429)["type"] == "rate_limit_error"
        assert int(reply.headers["retry-after"]) >= 1
    for connection in connections:
        connection.close()
    until(live.idle)
    assert ok(live.post(CHAT, {"messages": endless()["messages"], "max_tokens": 4}))


def test_those_that_come_during_a_pass_are_counted(live: Live) -> None:
    """Here the engine's thread looks up from its passes never at all."""
    backend, request = own(places=2, queue=2), bundled().request(QUESTION)
    jobs = [Job(str(i), "-", request) for i in range(6)]
    for job in jobs[:4]:
        backend.submit(job)
    with pytest.raises(Busy):
        backend.submit(jobs[4])
    jobs[0].cancelled = True
    backend.submit(jobs[5])


def test_many_at_once(live: Live) -> None:
    with ThreadPoolExecutor(24) as pool:
        body = endless(max_tokens=60)
        replies = list(pool.map(lambda _: live.post(CHAT, body).status_code, range(24)))
    assert set(replies) == {200, 429}
    assert replies.count(200) >= 4


def test_without_a_queue_those_are_served_who_have_a_place() -> None:
    with serving(own(places=1, queue=0)) as live:
        assert ok(live.post(CHAT, {"messages": endless()["messages"], "max_tokens": 4}))
        connection = sent(live, endless())
        until(lambda: live.backend.load().running == 1)
        refused(live.post(CHAT, endless()), 429)
        connection.close()


def test_all_requests_together_are_bounded() -> None:
    with serving(own(), Settings(bounds=Bounds(streams=1), grace=2.0)) as live:
        connection = sent(live, endless())
        until(lambda: live.backend.load().running == 1)
        refused(live.post(CHAT, endless()), 429)
        connection.close()


def test_more_replies_than_places(live: Live) -> None:
    body = {"n": 4, "seed": 3, "temperature": 0.9, "max_tokens": 40}
    choices = live.chat(body)["choices"]
    assert [choice["message"]["content"] for choice in choices] == [offline(body, turn=i).answer for i in range(4)]


def test_a_thought_is_concluded_and_answered(live: Live) -> None:
    body = {"messages": [{"role": "user", "content": "What is 37 * 48 + 15?"}], "stream": True, "max_tokens": 1500}
    with live.http.stream("POST", CHAT, json=body) as reply:
        lines = reply.iter_lines()
        id = begun(lines)
        assert id == reply.headers["x-request-id"]
        assert ok(live.http.post(f"/v1/requests/{id}/conclude"))["concluded"] == 1
        rest = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    (choice,) = joined(rest)
    assert choice["message"]["content"]
    assert choice["finish_reason"] == "stop"
    client = [event for event in choice["laconic"]["events"] if event["method"] == "client"]
    assert [event["action"] for event in client] == ["conclude"]
    whole = offline({"messages": body["messages"], "max_tokens": 1500})
    assert choice["laconic"]["usage"]["thinking"] < whole.usage.thinking


def test_all_replies_of_a_request_are_concluded(live: Live) -> None:
    body = {"messages": [{"role": "user", "content": "What is 37 * 48 + 15?"}], "stream": True, "n": 2,
            "temperature": 0.5, "seed": 1, "max_tokens": 1500}  # fmt: skip
    with live.http.stream("POST", CHAT, json=body) as reply:
        lines = reply.iter_lines()
        id = begun(lines)
        assert ok(live.http.post(f"/v1/requests/{id}/conclude"))["concluded"] == 2
        rest = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    assert all(choice["message"]["content"] for choice in joined(rest))


class Faulty:
    """Makes one call of something fail."""

    def __init__(self, what: Any, error: Exception, after: int = 0) -> None:
        self.what, self.error, self.left = what, error, after

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.left -= 1
        if self.left == -1:
            raise self.error
        return self.what(*arguments, **options)


LONG = "Think well. " * 60


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), BrokenLogits("a pass returned NaN.")])
@pytest.mark.parametrize("call", ["score", "prefill", "open"])
def test_a_pass_that_fails_ends_its_requests_and_the_next_are_served(
    live: Live, monkeypatch: pytest.MonkeyPatch, call: str, error: Exception
) -> None:
    target = bundled().target
    monkeypatch.setattr(target, call, Faulty(getattr(target, call), error, 3 if call == "score" else 0))
    question = f"{call} {error} {LONG}"  # which nobody has asked before
    body = {"messages": [{"role": "user", "content": question}], "max_tokens": 30, "n": 2}
    said = live.error(body, 500)
    assert said["type"] == "server_error"
    assert "out of memory" not in said["message"]
    until(live.idle)
    assert not target.slots
    assert ok(live.post(CHAT, body))["choices"][1]["message"]["content"]


def test_a_stream_tells_of_a_pass_that_fails(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    target = bundled().target
    monkeypatch.setattr(target, "score", Faulty(target.score, RuntimeError("x"), 4))
    with live.http.stream("POST", CHAT, json=endless(stream=True, n=2)) as reply:
        lines = [line for line in reply.iter_lines() if line]
    assert json.loads(lines[-1][6:])["error"]["type"] == "server_error"
    assert lines.count("data: [DONE]") == 0


def test_a_command_that_fails_does_not_end_the_server(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = live.backend.runner  # type: ignore[attr-defined]
    monkeypatch.setattr(runner, "_concluded", Faulty(runner._concluded, RuntimeError("x")))
    with live.http.stream("POST", CHAT, json=endless(stream=True)) as reply:
        lines = reply.iter_lines()
        id = begun(lines)
        assert ok(live.http.post(f"/v1/requests/{id}/conclude"))["concluded"] == 0
        assert "server_error" in "".join(lines)
    until(live.idle)
    assert ok(live.post(CHAT, {"messages": endless()["messages"], "max_tokens": 4}))


def test_a_request_whose_controllers_refuse_it_is_told_so(live: Live) -> None:
    body = endless(laconic={"think": "route-by-length:10,think=[settled:thresh=1]"})
    live.error(body, 400)


def test_who_drains_takes_no_more(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live.backend, "_draining", True)
    assert live.error(endless(), 503)["code"] == "not_ready"
    monkeypatch.setattr(live.state, "ready", False)
    refused(live.http.get("/ready"), 503)
    ok(live.http.get("/health"))


def test_short_prompts_that_come_together_begin_together() -> None:
    backend, request = own(places=8), bundled().request(QUESTION, limits=Limits(12))

    async def ask() -> None:
        jobs = [Job(str(i), "-", request, streams=False) for i in range(6)]
        for job in jobs:
            backend.submit(job)
        await backend.start()
        for job in jobs:
            assert [told.result async for told in job.news()][-1] is not None
        await backend.stop(1)

    asyncio.run(ask())
    assert backend.pulse()["recent"][0]["together"] == 6


def test_long_prompts_are_read_between_passes() -> None:
    """Nobody who writes waits for more of them than a piece."""
    backend, engine = own(places=8), bundled()
    long = engine.request(QUESTION + "Think well. " * 120, limits=Limits(8))
    short = engine.request(QUESTION, limits=Limits(40))

    async def ask() -> None:
        jobs = [Job("0", "-", replace(short, drafts=False)), *(Job(str(i), "-", long) for i in range(1, 4))]
        for job in jobs:
            backend.submit(job)
        await backend.start()
        for job in jobs:
            assert [told.result async for told in job.news()][-1] is not None
        await backend.stop(1)

    read: list[int] = []
    prefill = engine.target.prefill

    def counted(slot: Any, tokens: Any) -> int:
        read.append(len(tokens))
        return prefill(slot, tokens)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.target, "prefill", counted)
        asyncio.run(ask())
    assert len(long.prompt) > 2 * CHUNK
    assert max(read[3:]) <= CHUNK
    assert not engine.target.slots
