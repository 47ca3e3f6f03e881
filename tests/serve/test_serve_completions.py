"""Completions: texts and tokens written on, tags and all; whole and streamed alike, and what the engine writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from laconic import Limits, Request, Sampling
from tests.serve.live import Live, bundled, ok, own, serving

TEXT = "/v1/completions"
PROMPT = "<|im_start|>user\nWhat is 3 + 15?<|im_end|>\n<|im_start|>assistant\n<think>\n"


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with serving(own()) as made:
        yield made


def tokens(prompt: str) -> list[int]:
    return list(bundled().text.tokenizer.encode(prompt))


CASES: dict[str, dict[str, Any]] = {
    "greedy": {"prompt": PROMPT, "max_tokens": 300},
    "sampled": {"prompt": PROMPT, "temperature": 0.9, "top_p": 0.9, "seed": 3, "max_tokens": 120},
    "stop": {"prompt": PROMPT, "stop": ["18"], "max_tokens": 300},
    "logprobs": {"prompt": PROMPT, "logprobs": 2, "max_tokens": 60},
    "logprobs by ids": {"prompt": PROMPT, "logprobs": 1, "return_tokens_as_token_ids": True, "max_tokens": 40},
    "ids": {"prompt": PROMPT, "return_token_ids": True, "max_tokens": 80},
    "echo": {"prompt": PROMPT, "echo": True, "max_tokens": 40},
    "no tags": {"prompt": "Two and two", "max_tokens": 30},
    "several": {"prompt": [PROMPT, "Two and two", PROMPT], "n": 2, "temperature": 0.8, "seed": 2, "max_tokens": 40},
}


@pytest.mark.parametrize("case", CASES)
def test_streamed_as_whole_as_offline(live: Live, case: str) -> None:
    body = CASES[case]
    whole = ok(live.post(TEXT, body))
    chunks = live.streamed(TEXT, body | {"stream_options": {"include_usage": True}})
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks[:-1]:
        for piece in chunk["choices"]:
            choice = choices.setdefault(piece["index"], {"text": "", "logprobs": None, "token_ids": []})
            choice["text"] += piece["text"]
            choice["token_ids"] += piece.get("token_ids", [])
            if piece["logprobs"]:
                choice["logprobs"] = choice["logprobs"] or {name: [] for name in piece["logprobs"]}
                for name, values in piece["logprobs"].items():
                    choice["logprobs"][name] += values
            choice["finish_reason"] = piece["finish_reason"]
    assert [choice["index"] for choice in whole["choices"]] == sorted(choices)
    results = offline(body)
    assert len(results) == len(whole["choices"])
    for choice, result in zip(whole["choices"], results, strict=True):
        streamed = choices[choice["index"]]
        echoed = PROMPT if "echo" in body else ""
        assert choice["text"] == streamed["text"] == echoed + result.text
        assert choice["finish_reason"] == streamed["finish_reason"] == result.finish_reason
        assert choice.get("token_ids", []) == streamed["token_ids"] == (list(result.tokens) if case == "ids" else [])
        assert (choice["logprobs"] is None) == ("logprobs" not in body)
        if choice["logprobs"]:
            mine, theirs = choice["logprobs"], streamed["logprobs"]
            assert mine["tokens"] == theirs["tokens"]
            assert mine["text_offset"] == theirs["text_offset"]
            assert list(map(rounded, mine["token_logprobs"])) == list(map(rounded, theirs["token_logprobs"]))
    usage = whole["usage"]
    assert usage["completion_tokens"] == sum(len(result.tokens) for result in results)
    prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
    assert usage["prompt_tokens"] == sum(len(tokens(prompt)) for prompt in prompts)
    assert chunks[-1]["usage"]["completion_tokens"] == usage["completion_tokens"]
    assert chunks[-1]["usage"]["prompt_tokens"] == usage["prompt_tokens"]


def rounded(value: float | None) -> float | None:
    """Passes of other widths round otherwise; a token that was written by force has none."""
    return None if value is None else round(value, 2) + 0.0


def offline(body: dict[str, Any]) -> list[Any]:
    engine, n = bundled(), body.get("n", 1)
    said = {name: body[name] for name in ("temperature", "top_p", "seed") if name in body}
    stop = tuple(body.get("stop", ()))
    prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
    requests = [
        Request(tuple(tokens(prompt)), Sampling(**{**said, "seed": said.get("seed", 0) + turn}),
                Limits(body["max_tokens"], stop))
        for prompt in prompts for turn in range(n)
    ]  # fmt: skip
    # With stop strings it is one text, in which they end a thought as well.
    return engine.run([replace(one, phase="answer" if stop else engine.text.phase(one.prompt)) for one in requests])


def test_stop_strings_end_a_thought_where_nobody_controls_it(live: Live) -> None:
    body = {"prompt": PROMPT, "stop": ["\n\n"], "max_tokens": 300}
    step = ok(live.post(TEXT, body))["choices"][0]
    assert step["text"]
    assert "\n\n" not in step["text"]
    assert step["finish_reason"] == "stop"
    controlled = ok(live.post(TEXT, body | {"laconic": {"think": ["budget:40"]}}))["choices"][0]
    assert "\n\n" in controlled["text"]  # there they may not lose the answer


def test_tokens_as_text(live: Live) -> None:
    said = ok(live.post(TEXT, {"prompt": PROMPT, "max_tokens": 40}))["choices"][0]["text"]
    for prompt in (tokens(PROMPT), [tokens(PROMPT)]):
        assert ok(live.post(TEXT, {"prompt": prompt, "max_tokens": 40}))["choices"][0]["text"] == said
    told = ok(live.post(TEXT, {"prompt": PROMPT, "max_tokens": 40, "add_special_tokens": False}))
    assert told["choices"][0]["text"] == said  # this tokenizer adds none


def test_offsets_and_tokens_of_logprobs_are_those_of_the_text(live: Live) -> None:
    choice = ok(live.post(TEXT, CASES["logprobs"]))["choices"][0]
    said = choice["logprobs"]
    assert "".join(said["tokens"]) == choice["text"]
    for token, offset in zip(said["tokens"], said["text_offset"], strict=True):
        assert choice["text"][offset:].startswith(token)
    drawn = [place for place, value in enumerate(said["token_logprobs"]) if value is not None]
    forced = [place for place in range(len(said["tokens"])) if place not in drawn]
    assert "</think>" in [said["tokens"][place] for place in forced]  # the limit is near
    assert all(said["top_logprobs"][place] is None for place in forced)
    for place in drawn:
        token, value, top = (said[name][place] for name in ("tokens", "token_logprobs", "top_logprobs"))
        assert len(top) == 2
        assert max(top.values()) >= value == top.get(token, value)
    by_ids = ok(live.post(TEXT, CASES["logprobs by ids"]))["choices"][0]
    ids = [int(token.removeprefix("token_id:")) for token in by_ids["logprobs"]["tokens"]]
    assert bundled().text.decode(ids) == by_ids["text"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"prompt": ""}, "empty"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [1 << 20]}, "token 1048576"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [True]}, "prompt"),
        ({"prompt": ["x", [1]]}, "prompt"),
        ({"prompt": {"a": 1}}, "prompt"),
        ({}, "prompt"),
        ({"prompt": "x", "suffix": "y"}, "suffix"),
        ({"prompt": "x", "best_of": 3}, "best_of"),
        ({"prompt": ["x"] * 9, "n": 2}, "18 replies"),
        ({"prompt": "x", "logprobs": 21}, "logprobs"),
        ({"prompt": "x", "logprobs": 1, "echo": True}, "echo"),
        ({"prompt": "x " * 3000}, "tokens"),
        ({"prompt": "x", "messages": []}, "messages"),
    ],
)
def test_what_is_refused(live: Live, body: dict[str, Any], words: str) -> None:
    assert words in live.error(body, 400, TEXT)["message"]


def test_usage_with_every_chunk(live: Live) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = live.streamed(TEXT, CASES["ids"] | {"stream_options": options})
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]
    written = 0
    for chunk in chunks[:-1]:
        written += len(chunk["choices"][0]["token_ids"])
        assert chunk["usage"]["completion_tokens"] == written
        assert chunk["usage"]["prompt_tokens"] == len(tokens(PROMPT))
        assert chunk["usage"]["total_tokens"] == written + len(tokens(PROMPT))
    assert chunks[-1]["choices"] == []
