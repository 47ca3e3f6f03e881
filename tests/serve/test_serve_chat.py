"""Chat completions: whole and streamed alike, and both what the engine writes by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from laconic.models.base import chain
from tests.serve.live import QUESTION, Live, bundled, joined, offline, own, serving

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with serving(own()) as made:
        yield made


def ids(text: str) -> dict[str, float]:
    """A bias against the tokens of a text."""
    return dict.fromkeys(map(str, bundled().text.encode(text)), -100.0)


CASES: dict[str, dict[str, Any]] = {
    "greedy": {"max_tokens": 300},
    "sampled": {"temperature": 0.8, "top_p": 0.9, "seed": 7, "max_tokens": 300},
    "top-k and min-p": {"temperature": 1.2, "top_k": 5, "min_p": 0.02, "seed": 3, "max_tokens": 200},
    "all of top-k": {"temperature": 0.9, "top_k": -1, "seed": 3, "max_tokens": 120},
    "three": {"temperature": 0.9, "n": 3, "seed": 11, "max_tokens": 150},
    "a stop string of the answer": {"stop": ["18"], "max_tokens": 300},
    "a stop string of the thought": {"stop": "15", "max_tokens": 300},
    "several stop strings": {"stop": ["nowhere", "answer is"], "max_tokens": 300},
    "logprobs": {"logprobs": True, "top_logprobs": 3, "max_tokens": 300},
    "logprobs without others": {"logprobs": True, "temperature": 0.7, "seed": 5, "max_tokens": 200},
    "bias": {"logit_bias": {}, "max_tokens": 200},
    "penalties": {"presence_penalty": 1.5, "frequency_penalty": 0.3, "repetition_penalty": 1.1, "max_tokens": 200},
    "a budget": {"thinking_token_budget": 40, "max_tokens": 300},
    "no thought by budget": {"thinking_token_budget": 0, "max_tokens": 100},
    "no thought by effort": {"reasoning_effort": "none", "max_tokens": 100},
    "no thought by the template": {"chat_template_kwargs": {"enable_thinking": False}, "max_tokens": 100},
    "a tight limit": {"max_tokens": 60},
    "a tiny limit": {"max_completion_tokens": 5},
    "one token": {"max_tokens": 1},
    "an exit": {"laconic": {"think": "settled:0.05"}, "max_tokens": 300},
    "a budget and an exit": {"laconic": {"think": ["answer-agreement:2"]}, "thinking_token_budget": 90, "seed": 1},
    "room for the answer": {"laconic": {"answer_room": 30}, "max_tokens": 100},
    "no room for the answer": {"laconic": {"answer_room": 0}, "max_tokens": 60},
    "no drafts": {"laconic": {"draft": False, "think": "none"}, "max_tokens": 200},
    "a prediction": {"prediction": {"type": "content", "content": "The answer is \\boxed{18}."}, "max_tokens": 300},
    "parts and roles": {
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "What is 3 "}, {"type": "text", "text": "+ 15?"}]},
        ],
        "max_tokens": 250,
    },
    "a conversation": {
        "messages": [
            {"role": "user", "content": "What is 2 + 2?"},
            {"role": "assistant", "content": "The answer is 4.", "reasoning_content": "2 and 2 are 4."},
            {"role": "user", "content": QUESTION, "name": "ann"},
        ],
        "max_tokens": 250,
    },
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_streamed_as_whole_as_offline(live: Live, case: str) -> None:
    body = CASES[case] | ({"logit_bias": ids(" 18") | {"0": 3.5}} if case == "bias" else {})
    whole = live.chat(body)
    chunks = live.streamed(CHAT, {**_asked(body), "stream_options": {"include_usage": True}})
    assert {chunk["id"] for chunk in chunks} == {chunks[0]["id"]}
    assert chunks[-1]["choices"] == []
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    choices = joined(chunks[:-1])
    assert len(choices) == len(whole["choices"]) == body.get("n", 1)
    for turn, (streamed, choice) in enumerate(zip(choices, whole["choices"], strict=True)):
        assert _plain(streamed) == _plain(choice)
        _is_the_engines(choice, offline(_system(body), turn=turn))
    if "seed" in body or not body.get("temperature"):
        assert _counts(chunks[-1]["usage"]) == _counts(whole["usage"])


def _asked(body: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": QUESTION}]} | body


def _system(body: dict[str, Any]) -> dict[str, Any]:
    """The same for the engine, which knows fewer names of things."""
    messages = [
        message | {"role": "system" if message["role"] == "developer" else message["role"]}
        for message in _asked(body)["messages"]
    ]
    return body | {"messages": messages, "top_k": max(body.get("top_k", 0), 0)}


def _plain(choice: dict[str, Any]) -> dict[str, Any]:
    """What must be the same in every run: how much was drafted hangs on earlier requests."""
    message = {name: choice["message"].get(name) for name in ("role", "content", "reasoning", "reasoning_content")}
    told = choice["laconic"]
    kinds = {name: told["usage"][name] for name in ("thinking", "answer", "injected")}
    return {
        "index": choice["index"], "finish": choice["finish_reason"], "message": message, "logprobs": _rounded(choice),
        "events": told["events"], "lossless": told["lossless"], "think": told["think"], "kinds": kinds,
    }  # fmt: skip


def _rounded(choice: dict[str, Any]) -> Any:
    """Tokens with their log probabilities, as exact as passes of different widths are."""
    if choice["logprobs"] is None:
        return None
    return [
        (said["token"], said["bytes"], round(said["logprob"], 3), [top["token"] for top in said["top_logprobs"]])
        for said in choice["logprobs"]["content"]
    ]


def _counts(usage: dict[str, Any]) -> tuple[int, ...]:
    reasoning = usage["completion_tokens_details"]["reasoning_tokens"]
    return usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"], reasoning


def _is_the_engines(choice: dict[str, Any], result: Any) -> None:
    message = choice["message"]
    assert message["content"] == result.answer
    assert (message["reasoning"] or "") == result.thinking
    assert message["reasoning"] == message["reasoning_content"]
    assert choice["finish_reason"] == result.finish_reason
    events = [(event["method"], event["action"], event["tokens"]) for event in choice["laconic"]["events"]]
    assert events == [(event.method, event.action, event.tokens) for event in result.events]
    used = choice["laconic"]["usage"]
    assert (used["thinking"], used["answer"], used["injected"]) == (
        result.usage.thinking, result.usage.answer, result.usage.injected
    )  # fmt: skip


def test_the_cases_are_not_trivial() -> None:
    free = offline({"max_tokens": 300})
    assert "18" in free.answer
    assert "15" in free.thinking
    results = {name: offline(_system(body)) for name, body in CASES.items()}
    assert results["a stop string of the answer"].answer == free.answer.partition("18")[0].strip()
    assert results["a stop string of the thought"].answer == free.answer
    assert results["several stop strings"].answer == "The"
    assert " 18" not in offline({"logit_bias": ids(" 18"), "max_tokens": 90}).text
    assert results["penalties"].text != free.text
    assert results["a budget"].usage.thinking <= 40
    assert results["an exit"].usage.thinking < free.usage.thinking
    for name in ("no thought by budget", "no thought by effort", "no thought by the template"):
        assert not results[name].thinking
        assert results[name].answer
    for name in ("a tight limit", "room for the answer", "a tiny limit"):
        assert results[name].answer
        assert any(event.method == "loop" for event in results[name].events)
    assert not results["no room for the answer"].answer
    assert results["a prediction"].answer == free.answer


def test_logprobs_are_the_models_own(live: Live) -> None:
    body = {"logprobs": True, "top_logprobs": 4, "temperature": 0.7, "seed": 3, "max_tokens": 300}
    content = live.chat(body)["choices"][0]["logprobs"]["content"]
    engine, result = bundled(), offline(body)
    prompt = engine.request(QUESTION).prompt
    slot = engine.target.open()
    rows = engine.target.score([chain([*prompt, *result.tokens])], [slot]).of(0).log_softmax(-1)
    slot.close()
    answer = [at for at in range(result.thought, len(result.tokens)) if result.tokens[at] not in engine.text.eos]
    assert "".join(said["token"] for said in content).strip() == result.answer
    assert len(content) == len(answer)
    for at, said in zip(answer, content, strict=True):
        row = rows[len(prompt) + at - 1]
        assert said["logprob"] == pytest.approx(float(row[result.tokens[at]]), abs=2e-3)
        values = torch.topk(row, 4).values.tolist()
        assert [top["logprob"] for top in said["top_logprobs"]] == pytest.approx(values, abs=2e-3)
        assert bytes(said["bytes"]).decode() == said["token"]


def test_replies_differ_by_their_seeds_and_are_found_again(live: Live) -> None:
    body = {"temperature": 1.0, "n": 3, "seed": 4, "max_tokens": 120}
    texts = [choice["message"] for choice in live.chat(body)["choices"]]
    assert len({text["reasoning"] for text in texts}) == 3
    alone = live.chat(body | {"n": 1, "seed": 6})["choices"][0]
    assert alone["message"] == texts[2]
    assert alone["laconic"]["seed"] == 6
    unsaid = [live.chat({"temperature": 1.0, "max_tokens": 60})["choices"][0] for _ in range(2)]
    assert unsaid[0]["laconic"]["seed"] != unsaid[1]["laconic"]["seed"]
    again = live.chat({"temperature": 1.0, "max_tokens": 60, "seed": unsaid[0]["laconic"]["seed"]})["choices"][0]
    assert again["message"] == unsaid[0]["message"]


def test_usage_counts_every_token_once(live: Live) -> None:
    said = live.chat({"n": 2, "seed": 1, "temperature": 0.8, "max_tokens": 200})
    usage, own_counts = said["usage"], [choice["laconic"]["usage"] for choice in said["choices"]]
    assert usage["prompt_tokens"] == len(bundled().request(QUESTION).prompt)
    kinds = sum(counts[kind] for counts in own_counts for kind in ("thinking", "answer", "injected"))
    assert usage["completion_tokens"] == kinds
    assert usage["total_tokens"] == usage["prompt_tokens"] + kinds
    reasoning = usage["completion_tokens_details"]["reasoning_tokens"]
    assert 0 < reasoning < kinds
    # Without a thought the answer's beginning is drafted from the prediction; behind one, a drafter may have said it.
    wrong = {"type": "content", "content": "The answer is \\boxed{nothing}."}
    predicted = live.chat({"prediction": wrong, "chat_template_kwargs": {"enable_thinking": False}})["usage"]
    details = predicted["completion_tokens_details"]
    assert details["accepted_prediction_tokens"] > 0
    assert details["rejected_prediction_tokens"] > 0


def test_the_thought_can_be_left_out(live: Live) -> None:
    body = {"include_reasoning": False, "max_tokens": 300}
    whole = live.chat(body)["choices"][0]
    assert whole["message"]["reasoning"] is None
    assert whole["message"]["content"] == offline(body).answer
    (streamed,) = joined(live.streamed(CHAT, _asked(body)))
    assert streamed["message"]["reasoning"] is None
    assert streamed["message"]["content"] == whole["message"]["content"]


def test_a_trace_tells_every_token_and_where_it_came_from(live: Live) -> None:
    body = {"laconic": {"trace": True, "think": "settled:0.05"}, "max_tokens": 300}
    chunks = live.streamed(CHAT, _asked(body))
    traces = [chunk["laconic"]["trace"] for chunk in chunks if "trace" in chunk.get("laconic", {})]
    told = [token for trace in traces for token in trace["tokens"]]
    result = offline(body)
    assert "".join(token["text"] for token in told).removesuffix("<|im_end|>") == result.text
    assert {token["origin"] for token in told} <= {"target", "draft", "injected"}
    assert sum(token["origin"] == "injected" for token in told) == result.usage.injected
    assert any(trace["beliefs"] for trace in traces)
    assert sum(trace["accepted"] for trace in traces) >= sum(token["origin"] == "draft" for token in told)


def test_a_level_of_effort_without_effect_is_told(live: Live) -> None:
    told = live.chat({"reasoning_effort": "high", "max_tokens": 20})["choices"][0]["laconic"]
    assert "reasoning_effort=high has no effect" in told["notes"][0]
