"""Answers of a given format, and calls of tools, through the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient

from laconic.engine import Engine, Methods
from laconic.models.text import Text
from laconic.serve.app import application
from laconic.serve.own import Own
from laconic.serve.settings import Bounds, Settings

QUESTION = "What is 37 * 48 + 15?"
SCHEMA = {
    "type": "object",
    "properties": {"sum": {"type": "integer"}, "unit": {"enum": ["none", "apples"]}},
    "required": ["sum", "unit"],
    "additionalProperties": False,
}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {"at": {"enum": ["Rome", "Oslo"]}, "days": {"type": "integer", "minimum": 1}},
                "required": ["at"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("weather", "tides")
]
TEMPLATE = """{%- if tools %}{%- for tool in tools %}{{ tool | tojson }}
{%- endfor %}{%- endif %}
{%- for m in messages %}
{%- if m.role == 'assistant' %}{{ '\n' + (m.content or '') }}
{%- for call in m.tool_calls or [] %}{{ '\n<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' }}
{{- call.function.arguments | tojson }}{{ '}\n</tool_call>' }}{%- endfor %}{{ eos_token }}
{%- elif m.role == 'tool' %}{{ '\n<tool_response>' + m.content + '</tool_response>' }}
{%- else %}{{ m.content }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '\n' + ('<think>\n' if enable_thinking is not defined or enable_thinking
else '<think>\n\n</think>\n\n') }}{%- endif %}"""


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    torch.set_num_threads(1)
    engine = Engine.load("bundled", draft="bundled-draft", drafter="draft-model", think=("settled",))
    settings = Settings(bounds=Bounds(schema=2000))
    with TestClient(application(Own(engine, memory=1 << 28), settings), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture(scope="module")
def caller() -> Iterator[TestClient]:
    """The bundled model under a template with tools; it makes calls only where it must."""
    torch.set_num_threads(1)
    loaded = Engine.load("bundled", drafter="none")
    tokenizer = loaded.text.tokenizer
    tokenizer.chat_template = TEMPLATE
    text = Text(tokenizer, eos=sorted(loaded.text.eos))
    engine = Engine(loaded.target, text, Methods(), defaults=loaded.defaults)
    with TestClient(application(Own(engine, memory=1 << 28), Settings()), base_url="http://127.0.0.1") as client:
        yield client


def ask(client: TestClient, **said: Any) -> dict[str, Any]:
    body = {"temperature": 0, "max_tokens": 600, "messages": [{"role": "user", "content": QUESTION}]} | said
    reply = client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    return dict(reply.json()["choices"][0])


def streamed(client: TestClient, **said: Any) -> list[dict[str, Any]]:
    body = {"temperature": 0, "max_tokens": 600, "messages": [{"role": "user", "content": QUESTION}]} | said
    with client.stream("POST", "/v1/chat/completions", json=body | {"stream": True}) as reply:
        lines = [line[6:] for line in reply.iter_lines() if line.startswith("data: {")]
    return [json.loads(line)["choices"][0] for line in lines]


@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 1.0, "seed": 4}], ids=["greedy", "sampled"])
def test_an_answer_keeps_to_its_schema_and_the_thought_is_free(client: TestClient, sampling: dict[str, Any]) -> None:
    shape = {"type": "json_schema", "json_schema": {"name": "sum", "schema": SCHEMA}}
    plain, shaped = ask(client, **sampling), ask(client, response_format=shape, **sampling)
    found = json.loads(shaped["message"]["content"])
    assert set(found) == {"sum", "unit"}
    assert isinstance(found["sum"], int)
    assert shaped["message"]["reasoning"] == plain["message"]["reasoning"]
    chunks = streamed(client, response_format=shape, **sampling)
    assert "".join(c["delta"].get("content", "") for c in chunks) == shaped["message"]["content"]


def test_any_object_will_do(client: TestClient) -> None:
    reply = ask(client, response_format={"type": "json_object"}, max_tokens=700)
    if reply["finish_reason"] == "stop":
        assert isinstance(json.loads(reply["message"]["content"]), dict)
    assert reply["message"]["content"].startswith("{")


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"response_format": {"type": "json_schema"}}, "schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "sum"}}}}, "sum"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"enum": ["x" * 3000]}}}}, "characters"),
        ({"tool_choice": "required"}, "tools"),
        ({"tool_choice": {"type": "function", "function": {"name": "weather"}}}, "tools"),
        ({"tools": TOOLS}, "tools"),
    ],
)
def test_shapes_that_cannot_be_are_refused(client: TestClient, said: dict[str, Any], named: str) -> None:
    body = {"messages": [{"role": "user", "content": QUESTION}]} | said
    reply = client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 400, reply.text
    assert named in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "tides"}}], ids=["any", "named"]
)
def test_a_call_that_is_required_is_made(caller: TestClient, choice: Any) -> None:
    reply = ask(caller, tools=TOOLS, tool_choice=choice, parallel_tool_calls=False)
    assert reply["finish_reason"] == "tool_calls"
    (call,) = reply["message"]["tool_calls"]
    assert call["type"] == "function"
    assert call["id"].startswith("call_")
    assert call["function"]["name"] in (("tides",) if isinstance(choice, dict) else ("weather", "tides"))
    arguments = json.loads(call["function"]["arguments"])
    assert arguments["at"] in ("Rome", "Oslo")
    assert reply["message"]["content"] is None
    chunks = streamed(caller, tools=TOOLS, tool_choice=choice, parallel_tool_calls=False)
    (told,) = [c["delta"]["tool_calls"] for c in chunks if c["delta"].get("tool_calls")]
    assert told[0]["index"] == 0
    assert told[0]["function"] == call["function"]
    assert chunks[-1]["finish_reason"] == "tool_calls"
    assert "".join(c["delta"].get("reasoning", "") for c in chunks) == (reply["message"]["reasoning"] or "")
    assert not any(c["delta"].get("content") for c in chunks)


def test_calls_and_their_results_are_told_to_the_model(caller: TestClient) -> None:
    """In the template's own words, whether the client sends arguments as text or, as some do, as an object."""
    for arguments in ('{"at": "Rome"}', {"at": "Rome"}):
        messages = [
            {"role": "user", "content": "Is it warm?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "20 degrees"},
        ]
        reply = ask(caller, messages=messages, tools=TOOLS, max_tokens=40)
        assert reply["finish_reason"] in ("stop", "length")


def test_an_answer_without_calls_is_an_answer(caller: TestClient) -> None:
    reply = ask(caller, tools=TOOLS, reasoning_effort="none")
    assert reply["message"].get("tool_calls") is None
    assert reply["message"]["content"]
