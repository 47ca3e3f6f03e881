"""OpenAI's own client: what it reads, how it streams, and which of its errors it raises."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from laconic.serve.settings import Settings
from tests.serve.live import QUESTION, Live, bundled, offline, own, serving, until

KEY = "a-key-of-ann"
SAID: dict[str, Any] = {"model": "laconic", "messages": [{"role": "user", "content": QUESTION}]}
ASKED: dict[str, Any] = {**SAID, "max_completion_tokens": 300, "temperature": 0}


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with serving(own(places=1, queue=1), Settings(keys=(KEY,), grace=2.0)) as made:
        yield made


@pytest.fixture
def client(live: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key=KEY, max_retries=0) as made:
        yield made
    until(live.idle)


def endless() -> dict[str, Any]:
    text = bundled().text
    ends = dict.fromkeys(map(str, [text.close_token, *text.eos]), -100)
    return {**SAID, "logit_bias": ends, "max_tokens": 1900, "extra_body": {"laconic": {"draft": False}}}


def test_a_whole_reply(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(**ASKED)
    result = offline({"max_tokens": 300})
    assert reply.choices[0].message.content == result.answer
    assert reply.choices[0].message.reasoning == result.thinking  # type: ignore[attr-defined]
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == len(result.tokens)
    assert reply.usage.completion_tokens_details is not None
    assert reply.usage.completion_tokens_details.reasoning_tokens == result.thought
    assert reply._request_id == reply.id


def test_a_stream(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(**ASKED, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == offline({"max_tokens": 300}).answer
    assert chunks[-1].usage is not None
    assert chunks[-2].choices[0].finish_reason == "stop"
    with client.chat.completions.stream(**ASKED) as events:
        assert events.get_final_completion().choices[0].message.content == text


def test_the_asynchronous_client(live: Live) -> None:
    async def ask() -> tuple[str | None, str]:
        async with openai.AsyncOpenAI(base_url=f"{live.url}/v1", api_key=KEY) as client:
            whole = await client.chat.completions.create(**ASKED)
            stream = await client.chat.completions.create(**ASKED, stream=True)
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
        return whole.choices[0].message.content, "".join(pieces)

    whole, streamed = asyncio.run(ask())
    assert whole == streamed == offline({"max_tokens": 300}).answer


def test_completions_and_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["laconic"]
    assert client.models.retrieve("laconic").owned_by == "laconic"
    reply = client.completions.create(model="laconic", prompt=["2 + 2 =", "3 + 3 ="], max_tokens=8, logprobs=1)
    assert [choice.index for choice in reply.choices] == [0, 1]
    assert reply.choices[0].logprobs is not None
    assert reply.choices[0].logprobs.tokens
    stream = client.completions.create(model="laconic", prompt="2 + 2 =", max_tokens=8, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == reply.choices[0].text


def test_logprobs_are_read(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(**ASKED, logprobs=True, top_logprobs=2)
    said = reply.choices[0].logprobs
    assert said is not None
    assert said.content is not None
    assert "".join(one.token for one in said.content).strip() == reply.choices[0].message.content
    assert all(len(one.top_logprobs) == 2 for one in said.content)


def test_the_raw_reply(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(**{**ASKED, "max_completion_tokens": 8})
    assert raw.headers["x-request-id"] == raw.parse().id
    assert raw.status_code == 200
    with client.chat.completions.with_streaming_response.create(**ASKED, stream=True) as reply:
        assert any("[DONE]" in line for line in reply.iter_lines())


def test_what_laconic_adds(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(**ASKED, extra_body={"laconic": {"think": "budget:20"}})
    told = reply.choices[0].laconic  # type: ignore[attr-defined]
    assert told["events"][0]["method"] == "budget"


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ({"temperature": -1}, openai.BadRequestError),
        ({"extra_body": {"think": "budget:20"}}, openai.BadRequestError),
        ({"model": "gpt-4o"}, openai.NotFoundError),
    ],
)
def test_its_errors(client: openai.OpenAI, wrong: dict[str, Any], kind: type[openai.APIStatusError]) -> None:
    with pytest.raises(kind) as caught:
        client.chat.completions.create(**{**ASKED, **wrong})
    assert caught.value.body["message"]  # type: ignore[index]
    if "temperature" in wrong:
        assert caught.value.param == "temperature"


def test_keys(live: Live) -> None:
    stranger = openai.OpenAI(base_url=f"{live.url}/v1", api_key="somebody-else", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError):
        stranger.models.list()


def test_a_failure_of_the_engine(client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("x")

    with monkeypatch.context() as patched:
        patched.setattr(bundled().target, "score", fails)
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(**ASKED)
        with pytest.raises(openai.APIError):
            list(client.chat.completions.create(**ASKED, stream=True))
    assert client.chat.completions.create(**ASKED).choices[0].message.content


def test_a_full_queue_and_retries(live: Live, client: openai.OpenAI) -> None:
    streams = [client.chat.completions.create(**endless(), stream=True) for _ in range(2)]
    until(lambda: live.backend.load().waiting == 1)
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(**ASKED)
    assert caught.value.response.headers["retry-after"] == "1"
    for stream in streams:
        stream.close()
    patient = client.with_options(max_retries=5)
    assert patient.chat.completions.create(**ASKED).choices[0].message.content


def test_a_client_that_waits_no_longer(live: Live, client: openai.OpenAI) -> None:
    hasty = client.with_options(timeout=httpx.Timeout(0.3))
    with pytest.raises(openai.APITimeoutError):
        hasty.chat.completions.create(**endless())
    until(live.idle, 5)
