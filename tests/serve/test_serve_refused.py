"""What is refused: with which status, by which name, in the API's shape; and that nothing else happens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from laconic.serve.settings import Bounds, Settings
from tests.serve.live import Live, bundled, ok, own, refused, serving

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "What is 3 + 15?"}], "max_tokens": 8}
LARGE = 1 << 16
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with serving(own(), Settings(bounds=Bounds(body=LARGE, prompt=600, n=4), grace=2.0)) as made:
        yield made
        assert made.idle()


BAD: dict[str, tuple[dict[str, Any], str | None, str]] = {
    "an unknown field": ({"temprature": 1}, "temprature", "Unrecognized"),
    "an unknown field of ours": ({"laconic": {"thnk": "settled"}}, "laconic.thnk", "Unrecognized"),
    "no messages": ({"messages": None}, "messages", ""),
    "empty messages": ({"messages": []}, "messages", ""),
    "an empty question": ({"messages": [{"role": "user", "content": "  "}]}, None, "empty"),
    "a role": ({"messages": [{"role": "robot", "content": "hm"}]}, "messages.0.role", ""),
    "an image": ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages.0.content", ""),
    "a temperature below 0": ({"temperature": -0.1}, "temperature", ""),
    "a temperature in words": ({"temperature": "hot"}, "temperature", ""),
    "a temperature in digits": ({"temperature": [1]}, "temperature", ""),
    "top_p of 0": ({"top_p": 0}, "top_p", ""),
    "top_p above 1": ({"top_p": 1.01}, "top_p", ""),
    "top_p of true": ({"top_p": True}, "top_p", ""),
    "temperature in words": ({"temperature": "0.5"}, "temperature", ""),
    "a bias of true": ({"logit_bias": {"5": True}}, "logit_bias", ""),
    "top_k of -2": ({"top_k": -2}, "top_k", ""),
    "min_p of 1": ({"min_p": 1}, "min_p", ""),
    "max_tokens of 0": ({"max_tokens": 0}, "max_tokens", ""),
    "max_tokens in halves": ({"max_tokens": 1.5}, "max_tokens", ""),
    "max_tokens that are true": ({"max_tokens": True}, "max_tokens", ""),
    "n of 0": ({"n": 0}, "n", ""),
    "n of 5": ({"n": 5}, None, "n=5"),
    "an empty stop string": ({"stop": [""]}, "stop", ""),
    "17 stop strings": ({"stop": ["x"] * 17}, "stop", ""),
    "21 logprobs": ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", ""),
    "a presence penalty": ({"presence_penalty": 2.5}, "presence_penalty", ""),
    "a repetition penalty": ({"repetition_penalty": 0}, "repetition_penalty", ""),
    "a bias for a word": ({"logit_bias": {"hello": 1}}, None, "logit_bias"),
    "a bias for no token": ({"logit_bias": {"99999999": 1}}, None, "99999999"),
    "a large bias": ({"logit_bias": {"5": 101}}, "logit_bias.5", ""),
    "a method": ({"laconic": {"think": "setled"}}, None, "settled"),
    "a knob": ({"laconic": {"think": "settled:thresh=1"}}, None, "thresh"),
    "a knob's value": ({"laconic": {"think": "budget:-4"}}, None, "budget"),
    "a file of the server's": ({"laconic": {"think": "effort:low,lengths=/etc/passwd"}}, None, ""),
    "a budget below 0": ({"thinking_token_budget": -1}, "thinking_token_budget", ""),
    "an effort": ({"reasoning_effort": "huge"}, "reasoning_effort", ""),
    "too much room": ({"laconic": {"answer_room": 8}}, None, "answer_room"),
    "a seed": ({"seed": 1 << 63}, "seed", ""),
    "a model of numbers": ({"model": 4}, "model", ""),
    "a long prompt": ({"messages": [{"role": "user", "content": "what? " * 700}]}, None, "tokens"),
    "a template of the client's own": ({"chat_template_kwargs": {"chat_template": "{{ 1 }}"}}, None, "chat_template"),
    "tokens in place of text": ({"chat_template_kwargs": {"tokenize": True}}, None, "tokenize"),
    "no turn of the model's": ({"chat_template_kwargs": {"add_generation_prompt": False}}, None, "add_generation"),
    "stream options without a stream": ({"stream_options": {"include_usage": True}}, "stream_options", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named(live: Live, case: str) -> None:
    body, param, words = BAD[case]
    error = live.error({**ASKED, **body}, 400)
    assert (error["param"] or "").startswith(param or ""), error
    assert error["type"] == "invalid_request_error"
    assert words in error["message"]
    if "stream_options" not in body:
        assert live.error({**ASKED, **body, "stream": True}, 400) == error


RAW: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"{'messages': 1}",
    "a list": b"[]",
    "a number": b"7",
    "half of it": b'{"messages": [{"role": "user", "con',
    "not UTF-8": b'{"messages": "\xff\xfe"}',
    "deep": b'{"metadata": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "a long number": b'{"seed": ' + b"9" * 5000 + b"}",
    "NaN": b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
    "half a character": rb'{"messages": [{"role": "user", "content": "\ud800"}], "max_tokens": 4}',
    "half a character in a name": rb'{"messages": [{"role": "user", "content": "x"}], "\ud800": 4}',
    "half a character for the template": rb'{"messages": [{"role": "user", "content": "x"}], "max_tokens": 4, '
    rb'"chat_template_kwargs": {"custom": "\ud800"}, "laconic": {"think": "\udfff"}}',
    "half a character in a model": rb'{"messages": [{"role": "user", "content": "x"}], "model": "\udc00"}',
    "half a character in a bias": rb'{"messages": [{"role": "user", "content": "x"}], "logit_bias": {"\udc00": 1}}',
}


@pytest.mark.parametrize("case", RAW)
@pytest.mark.parametrize("path", [CHAT, TEXT, "/v1/responses", "/v1/messages"])
def test_bodies_that_are_none(live: Live, case: str, path: str) -> None:
    reply = live.http.post(path, content=RAW[case], headers={"content-type": "application/json"})
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["message"]
    if path != "/v1/messages":
        refused(reply, 400)


def test_other_kinds_of_bodies(live: Live) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        refused(live.http.post(CHAT, content=b"a=b", headers={"content-type": kind}), 400)


def test_half_characters_in_texts_that_are_let_through(live: Live) -> None:
    """Fields that may hold anything must not bring a template or a tokenizer to its knees."""
    message = rb'{"role": "user", "content": "x", "mood": "\ud800"}'
    raw = rb'{"messages": [%s], "max_tokens": 4, "metadata": {"\ud800": 1}}' % message
    reply = live.http.post(CHAT, content=raw, headers={"content-type": "application/json"})
    assert reply.status_code in (200, 400), reply.text


@pytest.mark.parametrize("depth", [100, 400, 800, 900, 950, 980])
def test_bodies_of_any_depth(live: Live, depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    said = b'"messages": [{"role": "user", "content": "x"%s}]'
    mood = said % (b', "mood": ' + nested)
    for place in (b'"metadata": {"a": %s}, ' + said % b"", b'"chat_template_kwargs": {"a": %s}, ' + said % b"", mood):
        body = b'{"max_tokens": 1, ' + place.replace(b"%s", nested) + b"}"
        reply = live.http.post(CHAT, content=body, headers={"content-type": "application/json"})
        assert reply.status_code in (200, 400), reply.text


@pytest.mark.parametrize("length", [LARGE + 1, 4 * LARGE])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_that_are_too_large(live: Live, length: int, chunked: bool) -> None:
    content = b'{"x": "' + b"y" * length + b'"}'
    pieces = (content[at : at + 4096] for at in range(0, len(content), 4096))
    headers = {"content-type": "application/json"}
    reply = httpx.post(live.url + CHAT, content=pieces if chunked else content, headers=headers)
    assert refused(reply, 413)["code"] == "request_too_large"


def test_as_much_as_is_allowed_is_read(live: Live) -> None:
    body = {**ASKED, "user": "y" * (LARGE - 400)}
    assert ok(live.post(CHAT, body))["choices"]


def test_what_is_not_there(live: Live) -> None:
    assert live.error({**ASKED, "model": "gpt-4o"}, 404)["code"] == "model_not_found"
    assert ok(live.post(CHAT, {**ASKED, "model": "laconic"}))["model"] == "laconic"
    refused(live.http.get("/v1/models/gpt-4o"), 404)
    assert ok(live.http.get("/v1/models/laconic"))["id"] == ok(live.http.get("/v1/models"))["data"][0]["id"]
    refused(live.http.get("/v1/nothing"), 404)
    refused(live.http.get(CHAT), 405)
    refused(live.http.delete("/v1/models"), 405)
    refused(live.post("/v1/requests/chatcmpl-1/conclude", {}), 404)


def test_no_reply_that_fails_leaves_anything_behind(live: Live) -> None:
    for _ in range(3):
        live.error({**ASKED, "laconic": {"think": "budget:-4"}, "n": 3}, 400)
    assert live.idle()
    assert not bundled().target.slots
