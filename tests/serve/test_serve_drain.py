"""``laconic serve`` as a process: it says where it is, and ends as it should when it is told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.serve.live import QUESTION, bundled, offline

CHAT = "/v1/chat/completions"


@contextmanager
def process(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "laconic", "serve", "--port", "0", "--exit", "none", "--drafter", "none", *options]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    made = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert made.stdout is not None
        line = next((line for line in made.stdout if line.startswith("ready: ")), None)
        assert line is not None, made.communicate()[1]
        yield made, line.split()[1].removesuffix("/v1")
    finally:
        made.kill()
        made.communicate()


def stream(http: httpx.Client, body: dict[str, Any], made: subprocess.Popen[str]) -> list[str]:
    """The lines of a stream during which the server is told to end."""
    lines: list[str] = []
    told = False
    with http.stream("POST", CHAT, json={"stream": True, **body}) as reply:
        for line in reply.iter_lines():
            lines.append(line)
            if not told and '"reasoning":"' in line:
                made.send_signal(signal.SIGTERM)
                told = True
    return [line for line in lines if line]


def test_what_is_under_way_is_brought_to_its_end() -> None:
    question = [{"role": "user", "content": QUESTION}]
    with process() as (made, url), httpx.Client(base_url=url, timeout=60) as http:
        lines = stream(http, {"messages": question, "max_tokens": 300}, made)
        assert lines[-1] == "data: [DONE]"
        chunks = [json.loads(line[6:]) for line in lines[:-1]]
        text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
        assert text == offline({"messages": question, "max_tokens": 300}).answer
        assert made.wait(20) in (0, -signal.SIGTERM)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/health")


def test_what_does_not_end_in_time_is_told_so() -> None:
    text = bundled().text
    ends = dict.fromkeys(map(str, [text.close_token, *text.eos]), -100)
    body = {"messages": [{"role": "user", "content": QUESTION}], "logit_bias": ends, "max_tokens": 2000}
    with process("--drain", "0.3") as (made, url), httpx.Client(base_url=url, timeout=60) as http:
        begun = time.monotonic()
        lines = stream(http, body, made)
        assert "error" in json.loads(lines[-1][6:])
        assert made.wait(20) in (0, -signal.SIGTERM)
        assert time.monotonic() - begun < 10


def test_an_address_that_is_taken_is_an_error() -> None:
    with process() as (_, url):
        port = url.rpartition(":")[2]
        command = [sys.executable, "-m", "laconic", "serve", "--port", port]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
        assert done.returncode != 0
        assert "cannot be bound" in done.stderr
        assert "Traceback" not in done.stderr
