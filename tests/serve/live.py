"""A laconic server on a free port of this machine, in a thread of the test's own process, and what tests ask it."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import httpx
import uvicorn

from laconic import Engine, Limits, Result, Sampling
from laconic.serve.app import application
from laconic.serve.backend import Backend
from laconic.serve.own import Own
from laconic.serve.settings import Settings
from laconic.thinking.base import Controller

QUESTION = "What is 3 + 15?"
SAMPLED = ("temperature", "top_p", "top_k", "min_p", "seed", "presence_penalty", "frequency_penalty",
           "repetition_penalty")  # fmt: skip


@cache
def bundled() -> Engine:
    """The bundled model, loaded once for all tests."""
    return Engine.load("bundled")


class Live:
    """Serves ``backend`` from the moment it is made until it is closed."""

    def __init__(
        self,
        backend: Backend,
        settings: Settings | None = None,
        efforts: dict[str, tuple[Controller, ...]] | None = None,
    ) -> None:
        self.backend = backend
        sys.setswitchinterval(0.001)  # as ``laconic.serve.server.serve`` does
        app = application(backend, settings or Settings(grace=5.0), efforts)
        self.state = app.app.state.server
        config = uvicorn.Config(app, "127.0.0.1", 0, log_config=None, access_log=False, timeout_graceful_shutdown=5)
        self._uvicorn = uvicorn.Server(config)
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_until_complete, args=(self._uvicorn.serve(),))
        self._thread.start()
        until(lambda: self._uvicorn.started or not self._thread.is_alive())
        assert self._uvicorn.started
        self.port = self._uvicorn.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.url, timeout=60)

    def close(self) -> None:
        self.http.close()
        self._uvicorn.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive(), "the server does not end"
        self.loop.close()

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return self.http.post(path, json=body, **options)

    def chat(self, body: dict[str, Any], **options: Any) -> dict[str, Any]:
        """A whole chat completion."""
        return ok(self.post("/v1/chat/completions", asked(body), **options))

    def streamed(self, path: str, body: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
        """All chunks of a stream; it must end with its mark."""
        with self.http.stream("POST", path, json=body | {"stream": True}, **options) as reply:
            assert reply.status_code == 200, reply.read()
            assert reply.headers["content-type"].startswith("text/event-stream")
            lines = [line for line in reply.iter_lines() if line and not line.startswith(":")]
        assert lines[-1] == "data: [DONE]"
        return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]

    def idle(self) -> bool:
        """Whether nothing is under way."""
        load = self.backend.load()
        return not (load.running or load.waiting or self.state.jobs.by_id)

    def error(self, body: Any, status: int, path: str = "/v1/chat/completions", **options: Any) -> dict[str, Any]:
        """What is said of a request that must be refused with this status."""
        return refused(self.post(path, body, **options), status)


@contextmanager
def serving(backend: Backend, settings: Settings | None = None, **options: Any) -> Iterator[Live]:
    live = Live(backend, settings, **options)
    try:
        yield live
    finally:
        live.close()


def own(engine: Engine | None = None, **options: Any) -> Own:
    return Own(engine or bundled(), **{"memory": 256 << 20} | options)


def ok(reply: httpx.Response) -> dict[str, Any]:
    assert reply.status_code == 200, reply.text
    said: dict[str, Any] = reply.json()
    return said


def refused(reply: httpx.Response, status: int) -> dict[str, Any]:
    """The error of a reply, which must have the API's shape."""
    assert reply.status_code == status, reply.text
    error: dict[str, Any] = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return error


def asked(body: dict[str, Any]) -> dict[str, Any]:
    """A chat completion's body, with a question where it has none."""
    return body if "messages" in body else {"messages": [{"role": "user", "content": QUESTION}], **body}


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


def joined(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The choices that a chat stream's chunks add up to."""
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for piece in chunk["choices"]:
            empty = {"message": {"content": "", "reasoning": None, "reasoning_content": None}, "logprobs": None}
            whole = choices.setdefault(piece["index"], {"index": piece["index"], "finish_reason": None, **empty})
            assert whole["finish_reason"] is None, "something after the end"
            for name, value in piece["delta"].items():
                whole["message"][name] = value if name == "role" else (whole["message"].get(name) or "") + value
            if piece["logprobs"]:
                whole["logprobs"] = whole["logprobs"] or {"content": [], "refusal": None}
                whole["logprobs"]["content"] += piece["logprobs"]["content"]
            whole["finish_reason"] = piece["finish_reason"]
            if piece["finish_reason"]:
                whole["laconic"] = chunk["laconic"]
    return [choices[index] for index in sorted(choices)]


@cache
def _remembered(body: str, turn: int) -> Result:
    return offline(json.loads(body), bundled(), turn=turn)


def offline(body: dict[str, Any], engine: Engine | None = None, *, turn: int = 0) -> Result:
    """What the engine itself writes for a chat completion's body; ``turn`` is the reply's place among ``n``."""
    if engine is None:
        return _remembered(json.dumps(body), turn)
    body = asked(body)
    options = body.get("laconic", {})
    sampling = {name: body[name] for name in SAMPLED if body.get(name) is not None}
    sampling["seed"] = sampling.get("seed", 0) + turn
    if bias := body.get("logit_bias"):
        sampling["logit_bias"] = tuple((int(token), value) for token, value in bias.items())
    stop = body.get("stop") or ()
    limits = Limits(
        body.get("max_completion_tokens") or body.get("max_tokens") or engine.defaults.limits.max_new_tokens,
        (stop,) if isinstance(stop, str) else tuple(stop), options.get("answer_room"),
    )  # fmt: skip
    budget = body.get("thinking_token_budget")
    think = [f"budget:{budget}"] if budget else []
    said = options.get("think")
    think += (
        said.split("+") if isinstance(said, str) and said != "none" else [] if isinstance(said, str) else said or []
    )
    if said is None:
        think += engine.methods.think
    request = engine.request(
        body["messages"],
        sampling=Sampling(**sampling),
        limits=limits,
        thinking=budget != 0 and body.get("reasoning_effort") != "none",
        keywords=body.get("chat_template_kwargs"),
    )
    logprobs = (body.get("top_logprobs") or 0) if body.get("logprobs") else None
    return engine.using(think=tuple(think)).run([replace(request, logprobs=logprobs)])[0]
