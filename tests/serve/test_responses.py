"""OpenAI's Responses, asked by its own client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
import torch

from laconic.engine import Engine, Methods
from laconic.models.text import Text
from laconic.serve.api.responses import ResponsesBody
from laconic.serve.responses import as_chat
from tests.serve.live import Live, bundled, own, serving
from tests.serve.test_serve_shapes import SCHEMA, TEMPLATE

QUESTION = "What is 37 * 48 + 15?"
TOOL = {
    "type": "function",
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"at": {"enum": ["Rome", "Oslo"]}},
        "required": ["at"],
        "additionalProperties": False,
    },
}


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    torch.set_num_threads(1)
    with serving(own()) as live:
        yield live


@pytest.fixture(scope="module")
def client(live: Live) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0)


def test_a_response_is_the_reply_of_a_chat(live: Live, client: openai.OpenAI) -> None:
    chat = live.chat({"temperature": 0, "max_tokens": 600, "messages": [{"role": "user", "content": QUESTION}]})
    reply = client.responses.create(model="", input=QUESTION, temperature=0, max_output_tokens=600)
    message = chat["choices"][0]["message"]
    assert reply.output_text == message["content"]
    assert [item.type for item in reply.output] == ["reasoning", "message"]
    thought: Any = reply.output[0]
    assert thought.content[0].text == message["reasoning"]
    assert reply.status == "completed"
    assert reply.usage is not None
    assert reply.usage.output_tokens == chat["usage"]["completion_tokens"]
    counted = chat["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert reply.usage.output_tokens_details.reasoning_tokens == counted


def test_a_stream_adds_up_to_the_response(client: openai.OpenAI) -> None:
    whole = client.responses.create(model="", input=QUESTION, temperature=0, max_output_tokens=600)
    said: dict[str, str] = {}
    numbers, kinds = [], []
    with client.responses.stream(model="", input=QUESTION, temperature=0, max_output_tokens=600) as stream:
        for event in stream:
            numbers.append(event.sequence_number)
            kinds.append(event.type)
            if event.type in ("response.output_text.delta", "response.reasoning_text.delta"):
                said[event.type] = said.get(event.type, "") + event.delta
        final = stream.get_final_response()
    assert final.output_text == whole.output_text == said["response.output_text.delta"]
    thought: Any = whole.output[0]
    assert said["response.reasoning_text.delta"] == thought.content[0].text
    assert numbers == list(range(len(numbers)))
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert kinds.count("response.output_item.added") == kinds.count("response.output_item.done") == 2


def test_one_that_is_cut_is_incomplete(client: openai.OpenAI) -> None:
    reply = client.responses.create(
        model="", input=QUESTION, temperature=0, max_output_tokens=5, reasoning={"effort": "none"}
    )
    assert reply.status == "incomplete"
    assert reply.incomplete_details is not None
    assert reply.incomplete_details.reason == "max_output_tokens"


def test_an_answer_of_a_schema(client: openai.OpenAI) -> None:
    form: Any = {"type": "json_schema", "name": "sum", "schema": SCHEMA, "strict": True}
    reply = client.responses.create(
        model="", input=QUESTION, temperature=0, max_output_tokens=700, text={"format": form}
    )
    assert reply.output_text.startswith("{")
    assert '"sum"' in reply.output_text


@pytest.mark.parametrize("said", [{"previous_response_id": "resp_1"}, {"background": True}, {"input": []}])
def test_what_is_not_kept_is_refused(live: Live, said: dict[str, Any]) -> None:
    error = live.error({"input": QUESTION} | said, 400, "/v1/responses")
    assert error["param"].startswith(next(iter(said)))


def test_a_call_is_an_item() -> None:
    """One that is required, whole and in a stream; its result goes back in another request."""
    loaded = bundled()
    tokenizer = loaded.text.tokenizer
    before = tokenizer.chat_template
    try:
        tokenizer.chat_template = TEMPLATE
        text = Text(tokenizer, eos=sorted(loaded.text.eos))
        with serving(own(Engine(loaded.target, text, Methods(), defaults=loaded.defaults))) as live:
            client = openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0)
            asked: Any = {
                "model": "", "input": "Is it warm?", "temperature": 0, "max_output_tokens": 600, "tools": [TOOL],
                "tool_choice": "required", "parallel_tool_calls": False,
            }  # fmt: skip
            whole = client.responses.create(**asked)
            call: Any = next(item for item in whole.output if item.type == "function_call")
            with client.responses.stream(**asked) as stream:
                final = stream.get_final_response()
            told: Any = next(item for item in final.output if item.type == "function_call")
            assert (told.name, told.arguments) == (call.name, call.arguments)
            said = [
                {"role": "user", "content": "Is it warm?"},
                call.model_dump(),
                {"type": "function_call_output", "call_id": call.call_id, "output": "20 degrees"},
            ]
            after = client.responses.create(**asked | {"input": said, "tool_choice": "auto", "max_output_tokens": 60})
            assert after.status in ("completed", "incomplete")
    finally:
        tokenizer.chat_template = before


def test_items_become_messages() -> None:
    body = ResponsesBody.model_validate(
        {
            "instructions": "Be brief.",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "Warm?"}]},
                {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "I ask."}], "summary": []},
                {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"at": "Rome"}'},
                {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": '{"at": "Oslo"}'},
                {"type": "function_call_output", "call_id": "c1", "output": "20"},
                {"type": "function_call_output", "call_id": "c2", "output": "4"},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Yes."}]},
            ],
            "tools": [TOOL],
            "reasoning": {"effort": "low"},
        }
    )
    chat = as_chat(body)
    assert [m.role for m in chat.messages] == ["system", "user", "assistant", "tool", "tool", "assistant"]
    assert chat.messages[2].reasoning == "I ask."
    assert chat.messages[2].tool_calls is not None
    assert [call.id for call in chat.messages[2].tool_calls] == ["c1", "c2"]
    assert chat.messages[-1].content == "Yes."
    assert chat.reasoning_effort == "low"
