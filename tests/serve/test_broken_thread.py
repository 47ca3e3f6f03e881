"""Failures at places where nobody expects one: each ends what it must, is told, and leaves the server at work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from laconic.sequence import Sequence
from laconic.serve import replies
from tests.serve.live import Live, bundled, ok, own, refused, serving, until

CHAT = "/v1/chat/completions"


class Panic(BaseException):
    """What extensions written in Rust raise where they cannot go on: no Exception."""


def asked(question: str = "What is 3 + 15?", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}], "max_tokens": 60, **more}


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with serving(own(places=4, queue=2)) as made:
        yield made


@pytest.fixture(autouse=True)
def _nothing_is_left(live: Live) -> Iterator[None]:
    yield
    until(live.idle)
    until(lambda: not bundled().target.slots)
    assert ok(httpx.post(live.url + CHAT, json=asked(), timeout=30))["choices"][0]["message"]["content"]


@pytest.mark.parametrize("call", ["score", "prefill", "open"])
def test_a_panic_ends_its_requests_and_not_the_thread(live: Live, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def panics(*_: Any, **__: Any) -> None:
        monkeypatch.undo()
        raise Panic

    monkeypatch.setattr(bundled().target, call, panics)
    assert live.error(asked(f"{call}: " + "Think well. " * 40), 500)["type"] == "server_error"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("call", ["drain", "result"])
def test_one_that_cannot_be_told_of_ends_alone(
    live: Live, monkeypatch: pytest.MonkeyPatch, call: str, stream: bool
) -> None:
    usual, bad = getattr(Sequence, call), "bad"

    def fails(s: Sequence) -> Any:
        if s.request.limits.stop == (bad,):
            raise ZeroDivisionError
        return usual(s)

    monkeypatch.setattr(Sequence, call, fails)
    with ThreadPoolExecutor(3) as pool:
        good = [pool.submit(live.post, CHAT, asked(seed=seed, temperature=0.5)) for seed in (1, 2)]
        body = asked(stop=bad, stream=stream)
        reply = live.post(CHAT, body)
        if stream:
            lines = [line for line in reply.text.splitlines() if line]
            assert json.loads(lines[-1][6:])["error"]["type"] == "server_error"
        else:
            refused(reply, 500)
        assert all(ok(one.result())["choices"][0]["message"]["content"] for one in good)


def test_what_cannot_be_kept_costs_no_reply(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(live.backend.prefixes, "keep", full)  # type: ignore[attr-defined]
    assert ok(live.post(CHAT, asked(seed=7)))["choices"][0]["message"]["content"]


def test_a_reply_that_cannot_be_begun_is_not_left_running(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(replies, "Streamed", fails)
    live.error(asked(), 500)
    assert live.idle()
    monkeypatch.undo()
