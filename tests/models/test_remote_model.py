"""The HTTP client: what it sends, how it reads what servers say, and every way in which they fail it."""

from __future__ import annotations

import asyncio
import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from laconic.errors import BadReply, BadStatus, MissingExtra, NoLogprobs, RequestError, Unreachable
from laconic.models.background import Background
from laconic.models.remote import KEY, RemoteModel
from laconic.models.replies import Completion, Said, completion
from laconic.types import Sampling

URL = "http://127.0.0.1:9/v1"
FINE = {"choices": [{"text": "4", "finish_reason": "stop"}]}


def model(answer: Callable[[httpx.Request], httpx.Response], **options: Any) -> RemoteModel:
    """A model over a transport in this process."""
    made = RemoteModel(options.pop("url", URL), "m", **options)
    headers, timeout = made._client.headers, made._client.timeout
    made._client = httpx.AsyncClient(transport=httpx.MockTransport(answer), headers=headers, timeout=timeout)
    return made


def ask(answer: Callable[[httpx.Request], httpx.Response], prompt: Any = (1, 2), **options: Any) -> Completion:
    order = {name: options.pop(name) for name in ("sampling", "stop", "logprobs", "bans") if name in options}
    return asyncio.run(model(answer, **options).complete(prompt, max_tokens=7, **order))


def sent(**options: Any) -> dict[str, Any]:
    """The body of a request."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=FINE)

    ask(answer, **options)
    assert (seen[0].method, str(seen[0].url)) == ("POST", f"{URL}/completions")
    said: dict[str, Any] = json.loads(seen[0].content)
    return said


def test_the_body_of_a_request() -> None:
    plain = sent(extras=False, stop=("\n\n",), logprobs=3, bans=[5])
    assert plain == {
        "model": "m", "prompt": [1, 2], "max_tokens": 7, "temperature": 0.0, "top_p": 1.0, "echo": False,
        "stop": ["\n\n"], "logprobs": 3, "logit_bias": {"5": -100},
    }  # fmt: skip
    sampled = sent(prompt="a", sampling=Sampling(0.6, 20, 0.95, 0.1, seed=3))
    assert (sampled["prompt"], sampled["seed"], sampled["temperature"], sampled["top_p"]) == ("a", 3, 0.6, 0.95)
    assert (sampled["top_k"], sampled["min_p"], sampled["repetition_penalty"]) == (20, 0.1, 1.0)
    assert sampled["add_special_tokens"] is False
    greedy = sent()
    assert greedy["top_k"] == -1
    assert greedy["return_token_ids"]
    assert not {"seed", "stop", "logprobs", "logit_bias", "add_special_tokens"} & set(greedy)
    with pytest.raises(RequestError, match="extras=True"):
        sent(extras=False, sampling=Sampling(0.6, top_k=20))


def reply(**choice: Any) -> Completion:
    return completion({"choices": [{"text": "4}", "finish_reason": "stop"} | choice]})


def test_replies_are_read_as_far_as_they_go() -> None:
    assert reply() == Completion("4}", "stop")
    assert reply(stop_reason=None).told
    assert reply(stop_reason="}").matched == "}"
    assert reply(matched_stop=7).matched is None, "SGLang's way to name an end token"
    assert reply(token_ids=[3, 4]).tokens == (3, 4)
    named = {"tokens": ["token_id:3", "token_id:4"], "token_logprobs": [-0.5, -1], "top_logprobs": None}
    assert reply(logprobs=named).tokens == (3, 4)
    texts = {"tokens": ["4", "}"], "token_logprobs": [-0.5, -1.0], "top_logprobs": [{"4": -0.5, "5": -1}, None]}
    assert reply(logprobs=texts).said == (Said("4", -0.5, {"4": -0.5, "5": -1.0}), Said("}", -1.0, {}))
    assert reply(logprobs=texts).tokens is None
    assert reply(logprobs={"token_logprobs": None}).said is None


@pytest.mark.parametrize(
    "wrong",
    [
        [], {}, {"choices": []}, {"choices": [{"text": 3, "finish_reason": "stop"}]},
        {"choices": [{"text": "a", "finish_reason": "abort"}]},
        {"choices": [{"text": "a", "finish_reason": "stop", "token_ids": ["x"]}]},
        {"choices": [{"text": "a", "finish_reason": "stop", "logprobs": {"tokens": [], "token_logprobs": [1.0]}}]},
    ],
)  # fmt: skip
def test_replies_that_are_none(wrong: Any) -> None:
    with pytest.raises(BadReply):
        ask(lambda _: httpx.Response(200, json=wrong))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"usage": [1]}, "no attribute 'get'"),
        ({"usage": {"completion_tokens": "7"}}, "'7' is no number"),
        ({"usage": {"completion_tokens": -3}}, "-3 is no number"),
        ({"finish_reason": ["stop"]}, "ended a completion with"),
        ({"token_ids": [-1]}, "-1 is no id"),
        ({"token_ids": [1 << 40]}, "is no id"),
        ({"token_ids": [True]}, "True is no id"),
        ({"token_ids": ["3"]}, "'3' is no id"),
        ({"token_ids": "12"}, "token_ids is str"),
        ({"token_ids": {"1": 2}}, "token_ids is dict"),
        ({"text": "a\ud800"}, r"'\\ud800', which is no character"),
        ({"logprobs": {"tokens": ["a"], "token_logprobs": [800.0]}}, "800.0 is no log probability"),
        ({"logprobs": {"tokens": ["a"], "token_logprobs": [0.5]}}, "0.5 is no log probability"),
        ({"logprobs": {"tokens": ["a"], "token_logprobs": ["-1"]}}, "'-1' is no log probability"),
        ({"logprobs": {"tokens": ["a"], "token_logprobs": [float("nan")]}}, "nan is no log probability"),
        ({"logprobs": {"tokens": ["a"], "token_logprobs": [-1], "top_logprobs": [{"b": 3}]}}, "3 is no log prob"),
        ({"logprobs": {"tokens": ["a"], "token_logprobs": [-(10**400)]}}, "OverflowError"),
        ({"logprobs": {"tokens": ["\udc00"], "token_logprobs": [-1]}}, "no character"),
        ({"logprobs": {"tokens": ["token_id:-4"], "token_logprobs": [-1]}}, "-4 is no id"),
        ({"logprobs": {"content": [{"id": -4, "token": "a", "logprob": -1}]}}, "-4 is no id"),
    ],
    ids=str,
)
def test_what_cannot_be_a_reply_is_named(wrong: dict[str, Any], says: str) -> None:
    usage = {"usage": wrong.get("usage", {"completion_tokens": 1})}
    choice = {"text": "a", "finish_reason": "stop"} | {key: wrong[key] for key in wrong.keys() - {"usage"}}
    body = json.dumps({"choices": [choice], **usage})
    with pytest.raises(BadReply, match=says):
        ask(lambda _: httpx.Response(200, content=body))


def test_a_reply_too_deep_to_read_is_none() -> None:
    with pytest.raises(BadReply, match="not JSON"):
        ask(lambda _: httpx.Response(200, content="[" * 100_000))


def test_rounding_above_a_probability_of_one_is_one() -> None:
    said = reply(logprobs={"tokens": ["a", "b"], "token_logprobs": [0.002, float("-inf")]}).said
    assert said is not None
    assert [one.logprob for one in said] == [0.0, -math.inf]


def test_entropy_is_a_lower_bound_that_is_exact_with_everything_known() -> None:
    probs = [0.5, 0.25, 0.125, 0.125]
    top = {i: math.log(p) for i, p in enumerate(probs)}
    exact = -sum(p * math.log(p) for p in probs)
    assert Said(0, top[0], top).entropy() == pytest.approx(exact)
    some = [Said(0, top[0], {i: top[i] for i in range(n)}).entropy() for n in (1, 2, 3, 4)]
    assert some == sorted(some)
    assert some[0] == pytest.approx(math.log(2)) == pytest.approx(Said(0, top[0], {}).entropy())


def test_errors_of_the_server_are_quoted_with_a_hint_and_without_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "sk-secret")
    seen: list[str | None] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("Authorization"))
        return httpx.Response(401, json={"error": {"message": "Incorrect API key provided: sk-secret"}})

    with pytest.raises(BadStatus, match=r"401: Incorrect API key provided: \*\*\*.*LACONIC_API_KEY") as caught:
        ask(refuse)
    assert seen == ["Bearer sk-secret"]
    assert "secret" not in str(caught.value)
    assert caught.value.status == 401
    assert "secret" not in repr(model(refuse))
    for url in ("http://user:sk-secret@127.0.0.1:9/v1", "http://127.0.0.1:9/v1?key=sk-secret"):
        with pytest.raises(RequestError, match=KEY) as refused:
            RemoteModel(url, "m")
        assert "secret" not in str(refused.value)
    monkeypatch.delenv(KEY)
    with pytest.raises(BadStatus, match=r"\*\*\*"):
        ask(refuse, api_key="sk-secret")


@pytest.mark.parametrize(
    ("status", "content", "says"),
    [
        (400, {"json": {"detail": "unknown field top_k"}}, r"400: unknown field top_k.*extras=False"),
        (404, {"json": {"message": "no such model"}}, r"404: no such model.*/models"),
        (429, {"text": "slow down"}, r"429: slow down.*batch"),
        (500, {"text": "x" * 9000}, r"500: x{400} ?$"),
        (302, {"text": ""}, r"302: Found"),
        (418, {"json": ["odd"]}, r"418: \['odd'\]"),
    ],
)
def test_status_errors(status: int, content: dict[str, Any], says: str) -> None:
    with pytest.raises(BadStatus, match=says):
        ask(lambda _: httpx.Response(status, **content), retries=0)


def test_what_is_not_json() -> None:
    with pytest.raises(BadReply, match="not JSON"):
        ask(lambda _: httpx.Response(200, text="<html>"))


def failing(
    times: int, error: type[httpx.TransportError]
) -> tuple[Callable[[httpx.Request], httpx.Response], list[int]]:
    tries: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        tries.append(1)
        if len(tries) <= times:
            raise error("refused")
        return httpx.Response(200, json=FINE)

    return answer, tries


def test_connections_are_tried_again_a_few_times_and_nothing_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laconic.models.remote._WAIT", 0.001)
    for error in (httpx.ConnectError, httpx.ConnectTimeout, httpx.RemoteProtocolError, httpx.ReadError):
        answer, tries = failing(2, error)
        assert ask(answer).text == "4"
        assert len(tries) == 3
        answer, tries = failing(3, error)
        with pytest.raises(Unreachable, match=r"no connection to http://127.0.0.1:9/v1: refused.*running"):
            ask(answer)
        assert len(tries) == 3
    answer, tries = failing(1, httpx.ReadTimeout)
    with pytest.raises(Unreachable, match="in time"):
        ask(answer)
    assert len(tries) == 1
    answer, tries = failing(1, httpx.DecodingError)  # type: ignore[arg-type]
    with pytest.raises(BadReply, match="refused"):
        ask(answer)
    assert len(tries) == 1


@pytest.mark.parametrize("url", ["127.0.0.1:8000/v1", "ftp://a/v1", "http:///v1", "", "http://[::1"])
def test_urls_are_checked_early(url: str) -> None:
    with pytest.raises(RequestError, match=r"http://127\.0\.0\.1:8000/v1"):
        RemoteModel(url, "m")


def test_models_that_are_served() -> None:
    async def served(**reply: Any) -> Any:
        return await model(lambda _: httpx.Response(**reply), retries=0).served()

    listed = {"data": [{"id": "a", "max_model_len": 77}, {"id": "b"}]}
    assert asyncio.run(served(status_code=200, json=listed)) == [("a", 77), ("b", None)]
    assert asyncio.run(served(status_code=404)) == []
    with pytest.raises(BadStatus):
        asyncio.run(served(status_code=500))
    with pytest.raises(BadReply):
        asyncio.run(served(status_code=200, json={"data": [1]}))


def test_without_httpx_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(MissingExtra, match=r"laconic\[remote\]"):
        RemoteModel(URL, "m")


def test_coroutines_run_in_the_background_and_end_with_it() -> None:
    async def double(x: int) -> int:
        await asyncio.sleep(0)
        return 2 * x

    async def fail() -> None:
        raise ValueError("no")

    async def forever() -> None:
        await asyncio.sleep(60)

    background = Background()
    background.stop()
    assert not background.started
    assert [background.run(double(x)) for x in range(3)] == [0, 2, 4]
    with pytest.raises(ValueError, match="no"):
        background.run(fail())

    async def leave() -> asyncio.Task[None]:
        return asyncio.ensure_future(forever())

    left = background.run(leave())
    begun = time.monotonic()
    background.stop()
    assert left.cancelled()
    assert time.monotonic() - begun < 3
    assert background.run(double(4)) == 8, "it starts anew"
    background.stop()


def test_a_model_that_is_forgotten_closes_itself() -> None:
    made = model(lambda _: httpx.Response(200, json=FINE))
    assert made.wait(made.complete("a", max_tokens=1)).text == "4"
    background = made._background
    del made
    assert not background.started


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were waited, without waiting."""
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr("laconic.models.remote._sleep", sleep)
    return found


def busy(times: int, status: int, **headers: str) -> Callable[[httpx.Request], httpx.Response]:
    left = [times]

    def answer(_: httpx.Request) -> httpx.Response:
        left[0] -= 1
        return httpx.Response(status, headers=headers, text="busy") if left[0] >= 0 else httpx.Response(200, json=FINE)

    return answer


@pytest.mark.parametrize("status", [429, 500, 502, 503, 529])
def test_busy_servers_are_asked_again_a_bounded_number_of_times(status: int, waits: list[float]) -> None:
    assert ask(busy(6, status)).text == "4"
    assert waits == pytest.approx([0.2 * 2**i for i in range(6)])
    with pytest.raises(BadStatus, match=str(status)):
        ask(busy(7, status))
    waits.clear()
    with pytest.raises(BadStatus):
        ask(busy(1, status), retries=0)
    assert waits == []


def test_retry_after_is_kept_to(waits: list[float]) -> None:
    assert ask(busy(2, 429, **{"Retry-After": "7"})).text == "4"
    assert waits == [7.0, 7.0]
    waits.clear()
    assert ask(busy(1, 503, **{"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"})).text == "4"
    assert ask(busy(1, 503, **{"Retry-After": "soon"})).text == "4"
    assert waits == [0.0, 0.2]
    with pytest.raises(BadStatus, match="429"):
        ask(busy(1, 429, **{"Retry-After": "3600"}))
    assert len(waits) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 422, 501])
def test_other_refusals_are_final(status: int, waits: list[float]) -> None:
    with pytest.raises(BadStatus):
        ask(busy(1, status))
    assert waits == []


@pytest.mark.parametrize(
    "said",
    [{"error": {"message": "out of memory"}}, {"error": "out of memory"},
     {"object": "error", "message": "out of memory"},
     {"error": {"message": "out of memory"}, "choices": []}],
)  # fmt: skip
def test_errors_of_status_200_are_quoted(said: Any) -> None:
    with pytest.raises(BadReply, match="the server says: out of memory"):
        ask(lambda _: httpx.Response(200, json=said))


@pytest.mark.parametrize(
    ("finish", "usage", "reads"),
    [
        ({"finish_reason": "eos_token"}, 3, "stop"), ({"finish_reason": "max_tokens"}, 7, "length"),
        ({"finish_reason": None}, 3, "stop"), ({"finish_reason": None}, 7, "length"),
        ({}, 3, "stop"), ({}, 7, "length"),
    ],
)  # fmt: skip
def test_ends_of_other_names_or_none_are_taken(finish: dict[str, Any], usage: int, reads: str) -> None:
    said = {"choices": [{"text": "a"} | finish], "usage": {"completion_tokens": usage}}
    assert ask(lambda _: httpx.Response(200, json=said)).finish_reason == reads


def test_probabilities_in_the_form_of_chats() -> None:
    entry = {
        "token": "4",
        "logprob": -0.5,
        "top_logprobs": [{"token": "4", "logprob": -0.5}, {"token": "5", "logprob": -1}],
    }
    assert reply(logprobs={"content": [entry]}).said == (Said("4", -0.5, {"4": -0.5, "5": -1.0}),)
    numbered = {"id": 9, "token": "4", "logprob": -0.5, "top_logprobs": [{"id": 9, "token": "4", "logprob": -0.5}]}
    assert reply(logprobs={"content": [numbered]}).tokens == (9,)
    for hidden in ({"tokens": ["4"], "token_logprobs": [None]}, {"content": [{"token": "4", "logprob": None}]}):
        with pytest.raises(NoLogprobs, match="null"):
            reply(logprobs=hidden)


def test_fewer_likeliest_tokens_are_asked_for_where_the_server_has_a_limit() -> None:
    seen: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(json.loads(request.content)["logprobs"])
        refused = {"error": {"message": "logprobs must be at most 5"}}
        return httpx.Response(400, json=refused) if seen[-1] > 5 else httpx.Response(200, json=FINE)

    async def twice() -> None:
        made = model(answer)
        for _ in range(2):
            await made.complete([1], max_tokens=7, logprobs=20)

    with pytest.warns(UserWarning, match="logprobs=20; asking for 5"):
        asyncio.run(twice())
    assert seen == [20, 5, 5]
