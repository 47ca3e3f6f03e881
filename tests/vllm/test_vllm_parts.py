"""What vLLM itself is asked for a request, in one part or many, and what it is never asked."""

from __future__ import annotations

import copy
import sys
from dataclasses import replace
from typing import Any

import pytest

from laconic import Limits
from laconic.vllm.asked import EXPECTED, PART, left_alone
from tests.vllm_fakes import TEXT, Kind, Params, own, plain, prompts, think
from tests.vllm_server import LLM, Count, Refused, ids, served, stand_ins, tokens_of


@pytest.fixture(autouse=True)
def _vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins(monkeypatch)


@pytest.mark.parametrize("skip_clone", [False, True])
def test_parts_of_a_request_are_vllms_own_and_on_its_terms(skip_clone: bool) -> None:
    llm = LLM(2)
    extra = {"laconic.think": "settled:0.06", "other": 3}
    params = Params(extra_args=extra, thinking_token_budget=90, temperature=0.5, top_p=0.9, min_tokens=0, stop="xyz")
    params.skip_clone = skip_clone
    before = copy.deepcopy(params)
    prompt = {**ids(prompts(6)[5]), "cache_salt": "s"}
    served(llm, prompt, params, priority=2, lora_request="adapter", prompt_text="?", reasoning_ended=False)
    assert len(llm.asked) == 3
    for sent, part, name, kwargs in llm.asked:
        assert name == "one"
        assert (sent["type"], sent["cache_salt"], "prompt" in sent) == ("token", "s", False)
        assert kwargs == {"priority": 2, "lora_request": "adapter"}
        assert set(part.extra_args or {}) - {EXPECTED} == {"other", PART}
        assert (part.n, part.thinking_token_budget, part.output_kind, part.top_p) == (1, None, Kind.DELTA, 0.9)
        assert part.seed is None
    assert {part.temperature for _, part, _, _ in llm.asked} == {0.0, 0.5}
    assert params == before


def test_parts_have_names_of_their_own_where_vllm_does_not_tell_them_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["vllm"].envs, "VLLM_DISABLE_REQUEST_ID_RANDOMIZATION", True)
    llm = LLM(2)
    served(llm, ids(prompts(6)[5]), think("settled:0.06"))
    assert [name for _, _, name, _ in llm.asked] == [f"one-laconic-{n}" for n in range(1, len(llm.asked) + 1)]


def test_a_text_is_rendered_by_vllm() -> None:
    llm, prompt = LLM(), prompts(3)[2]
    outputs = served(llm, TEXT.decode(prompt), think("settled:0.06"), tokenization_kwargs={"some": 1})
    assert tokens_of(outputs) == list(own(("settled:0.06",), prompt, Limits(128)).tokens)
    assert llm.tok_params == {"some": 1}
    assert all("tokenization_kwargs" not in kwargs for _, _, _, kwargs in llm.asked)


def test_requests_of_others_and_those_of_the_workers_are_vllms() -> None:
    llm, prompt = LLM(4), prompts(6)[1]
    for params in (Params(), think("budget:24"), Params(thinking_token_budget=5), object()):
        if not isinstance(params, Params):
            params = type(
                "Pooling", (), {"clone": None, **{k: v for k, v in vars(Params()).items() if k != "extra_args"}}
            )
        outputs = served(llm, ids(prompt), params)  # type: ignore[arg-type]
        assert tokens_of(outputs) == plain(prompt, 128)
        assert llm.asked[-1][1] is params
        assert llm.asked[-1][2] == "one"
    assert len(llm.asked) == 4
    assert Count.made["laconic:requests"].of == {("budget", "workers"): 2}


@pytest.mark.parametrize(
    ("others", "why"),
    [
        ({"logprobs": 0}, "logprobs cannot be had together"),
        ({"prompt_logprobs": 1}, "prompt_logprobs"),
        ({"structured_outputs": "json"}, "structured outputs"),
        ({"ignore_eos": True}, "ignore_eos"),
        ({"min_tokens": 3}, "min_tokens"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"frequency_penalty": -0.5}, "frequency_penalty"),
        ({"extra_args": {"laconic.think": "setled"}}, "Did you mean 'settled'"),
        ({"extra_args": {"laconic.thinks": "settled"}}, "Did you mean 'laconic.think'"),
        ({"extra_args": {"laconic.think": "chain-of-draft"}}, "before the request begins"),
        ({"extra_args": {"laconic.think": "settled", "laconic.answer_room": 128}}, "answer_room must be"),
    ],
)
def test_what_cannot_be_had_is_refused(others: dict[str, Any], why: str) -> None:
    llm = LLM()
    with pytest.raises(Refused, match=why):
        served(llm, ids(prompts(1)[0]), Params(**{"extra_args": {"laconic.think": "settled"}, **others}))
    assert not llm.asked


@pytest.mark.parametrize("others", [{"min_tokens": 3}, {"ignore_eos": True}, {"logprobs": 0, "max_tokens": 1}])
def test_what_a_servers_own_methods_cannot_do_is_left_to_vllm(others: dict[str, Any]) -> None:
    llm, prompt = LLM(4, think="settled:0.06"), prompts(6)[1]
    params = Params(**others)
    before = copy.deepcopy(params)
    assert tokens_of(served(llm, ids(prompt), params, priority=3)) == plain(prompt, params.max_tokens or 0)
    ((_, sent, name, kwargs),) = llm.asked
    assert sent == replace(params, extra_args=left_alone(params))
    assert (name, kwargs, params) == ("one", {"priority": 3}, before)


@pytest.mark.parametrize(
    ("rows", "follows", "refused"), [(1025, False, True), (1024, False, False), (1025, True, False)]
)
def test_a_long_list_of_tokens_is_not_sent_to_the_second_model_runner(rows: int, follows: bool, refused: bool) -> None:
    llm = LLM(follows=follows)
    llm._laconic_host.rows = rows
    params, prompt = think("settled:0.06+no-wait:words=a/b/c"), ids(prompts(6)[1])
    if refused:
        with pytest.raises(Refused, match="V2 model runner"):
            served(llm, prompt, params)
    assert bool(llm.asked if refused else served(llm, prompt, params)) != refused


def test_series_of_metrics_are_few() -> None:
    llm = LLM(4)
    for methods in ("settled+budget:9+budget:8", "budget:9+settled:0.06", "budget:9"):
        served(llm, ids(prompts(6)[1]), think(methods))
    assert Count.made["laconic:requests"].of == {("budget+settled", "server"): 2, ("budget", "workers"): 1}


def test_prompts_that_are_no_tokens_are_refused() -> None:
    with pytest.raises(Refused, match="not of multimodal"):
        served(LLM(), {**ids(prompts(1)[0]), "type": "multimodal"}, think("settled:0.06"))
