"""Anthropic's Messages: the same replies in other clothes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient

from laconic.engine import Engine
from laconic.serve.api.messages import MessagesBody
from laconic.serve.app import application
from laconic.serve.messages import as_chat
from laconic.serve.own import Own
from laconic.serve.settings import Settings

QUESTION = "What is 37 * 48 + 15?"


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    torch.set_num_threads(1)
    engine = Engine.load("bundled", draft="bundled-draft", drafter="draft-model", think=("settled",))
    with TestClient(application(Own(engine, memory=1 << 28), Settings()), base_url="http://127.0.0.1") as client:
        yield client


def body(**said: Any) -> dict[str, Any]:
    return {"max_tokens": 600, "temperature": 0, "messages": [{"role": "user", "content": QUESTION}]} | said


def chat(client: TestClient, **said: Any) -> dict[str, Any]:
    asked = {"temperature": 0, "max_tokens": 600, "messages": [{"role": "user", "content": QUESTION}]} | said
    return dict(client.post("/v1/chat/completions", json=asked).json())


def events(client: TestClient, asked: dict[str, Any]) -> list[dict[str, Any]]:
    with client.stream("POST", "/v1/messages", json=asked | {"stream": True}) as reply:
        text = "".join(reply.iter_text())
    found = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.strip().split("\n\n")]
    told = [json.loads(one["data"]) for one in found]
    assert [one["event"] for one in found] == [one["type"] for one in told]
    return told


@pytest.mark.parametrize("thinking", [None, {"type": "enabled", "budget_tokens": 2000}, {"type": "disabled"}])
def test_a_message_is_the_reply_of_a_chat(client: TestClient, thinking: dict[str, Any] | None) -> None:
    """Its thought is shown where it was asked for, and no thought is thought where it was switched off."""
    reply = client.post("/v1/messages", json=body(**({"thinking": thinking} if thinking else {}))).json()
    off = thinking is not None and thinking["type"] == "disabled"
    same = chat(client, **({"reasoning_effort": "none"} if off else {}))
    kinds = [block["type"] for block in reply["content"]]
    assert kinds == (["thinking", "text"] if thinking and not off else ["text"])
    assert reply["content"][-1]["text"] == same["choices"][0]["message"]["content"]
    if kinds[0] == "thinking":
        assert reply["content"][0]["thinking"] == same["choices"][0]["message"]["reasoning"]
    assert reply["stop_reason"] == "end_turn"
    used = reply["usage"]
    assert used["output_tokens"] == same["usage"]["completion_tokens"]
    assert used["input_tokens"] + used["cache_read_input_tokens"] == same["usage"]["prompt_tokens"]


def test_a_stream_adds_up_to_the_message(client: TestClient) -> None:
    asked = body(thinking={"type": "adaptive"})
    whole, told = client.post("/v1/messages", json=asked).json(), events(client, asked)
    blocks: list[dict[str, Any]] = []
    for one in told:
        if one["type"] == "content_block_start":
            assert one["index"] == len(blocks)
            blocks.append(dict(one["content_block"]))
        elif one["type"] == "content_block_delta":
            kind = one["delta"]["type"].removesuffix("_delta")
            blocks[one["index"]][kind] += one["delta"][kind]
    assert blocks == whole["content"]
    assert told[0]["type"] == "message_start"
    assert told[-1]["type"] == "message_stop"
    assert told[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert told[-2]["usage"]["output_tokens"] == whole["usage"]["output_tokens"]


def test_why_a_message_ended(client: TestClient) -> None:
    cut = client.post("/v1/messages", json=body(max_tokens=12, thinking={"type": "disabled"})).json()
    full = client.post("/v1/messages", json=body(thinking={"type": "disabled"})).json()["content"][0]["text"]
    assert (cut["stop_reason"], cut["stop_sequence"]) in (("max_tokens", None), ("end_turn", None))
    stop = full[4:8]
    stopped = client.post("/v1/messages", json=body(stop_sequences=["zzz", stop], thinking={"type": "disabled"})).json()
    assert (stopped["stop_reason"], stopped["stop_sequence"]) == ("stop_sequence", stop)
    assert stopped["content"] == [{"type": "text", "text": full[: full.index(stop)].strip()}]


@pytest.mark.parametrize(
    ("asked", "status", "kind"),
    [
        ({"messages": []}, 400, "invalid_request_error"),
        ({"max_tokens": 0}, 400, "invalid_request_error"),
        ({"model": "other"}, 404, "not_found_error"),
        ({"thimking": {}}, 400, "invalid_request_error"),
        ({"laconic": {"think": "budgit:3"}}, 400, "invalid_request_error"),
        ({"tools": [{"name": "f", "input_schema": {}}]}, 400, "invalid_request_error"),
    ],
)
def test_errors_have_their_own_shape(client: TestClient, asked: dict[str, Any], status: int, kind: str) -> None:
    reply = client.post("/v1/messages", json=body(**asked))
    assert reply.status_code == status
    assert reply.json()["type"] == "error"
    assert reply.json()["error"]["type"] == kind
    assert reply.json()["error"]["message"]


def test_calls_and_their_results_become_turns_of_a_chat() -> None:
    asked = MessagesBody.model_validate(
        {
            "max_tokens": 5,
            "system": [{"type": "text", "text": "Be brief."}],
            "messages": [
                {"role": "user", "content": "How warm is it?"},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "I ask.", "signature": "x"},
                        {"type": "text", "text": "I look."},
                        {"type": "tool_use", "id": "t1", "name": "weather", "input": {"at": "Rome"}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "20"}]},
                        {"type": "text", "text": "And now?"},
                    ],
                },
            ],
            "tools": [{"name": "weather", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "any"},
        }
    )
    chat = as_chat(asked)
    roles = [message.role for message in chat.messages]
    assert roles == ["system", "user", "assistant", "tool", "user"]
    mine = chat.messages[2]
    assert (mine.content, mine.reasoning) == ("I look.", "I ask.")
    assert mine.tool_calls is not None
    assert json.loads(str(mine.tool_calls[0].function.arguments)) == {"at": "Rome"}
    assert (chat.messages[3].tool_call_id, chat.messages[3].content) == ("t1", "20")
    assert chat.tool_choice == "required"
