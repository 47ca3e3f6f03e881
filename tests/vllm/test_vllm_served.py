"""What vLLM's server tells of requests whose controllers ask the model questions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from vllm_fakes import TEXT, Kind, Params, fakes_of_methods, own, plain, prompts, think
from vllm_server import LLM, Count, Refused, ids, served, stand_ins, tokens_of

from laconic import Limits
from laconic.vllm.admission import FAULT
from laconic.vllm.asked import EXPECTED, PART

THINK = {
    "settled": ("settled:0.06",),
    "confidence": ("answer-confidence:threshold=0.05",),
    "two": ("loop-break:every=16", "settled:0.06"),
    "budget": ("budget:24",),
    "budget and exit": ("budget:60", "answer-confidence:threshold=0.2,patience=2"),
    "ruled": ("no-wait:words=a/b/c", "settled:0.06"),
    "agreement": ("answer-agreement:2",),
    "kept open": ("budget:60,minimum=24,waits=2", "loop-break:every=16"),
    "nothing": (),
}


@pytest.fixture(autouse=True)
def _vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins(monkeypatch)


def request(methods: tuple[str, ...], **others: Any) -> Params:
    return think("+".join(methods) or "none", **others)


@pytest.mark.parametrize("chunk", [1, 5])
@pytest.mark.parametrize("name", THINK)
def test_texts_are_those_of_laconics_engine(name: str, chunk: int) -> None:
    acted = 0
    for prompt in prompts(6):
        llm, right = LLM(chunk, follows=False), own(THINK[name], prompt, Limits(128))
        outputs = served(llm, ids(prompt), request(THINK[name]))
        assert tokens_of(outputs) == list(right.tokens)
        assert "".join(one.text for output in outputs for one in output.outputs) == right.text.removesuffix(
            "<|im_end|>"
        )
        assert [output.finished for output in outputs] == [False] * (len(outputs) - 1) + [True]
        assert outputs[-1].outputs[0].finish_reason == right.finish_reason
        assert {output.request_id for output in outputs} == {"one"}
        assert all(output.prompt_token_ids == prompt for output in outputs)
        assert llm.most == 1 or name not in ("budget", "kept open")
        acted += bool(right.events)
    assert acted or name == "nothing"


@pytest.mark.parametrize("kind", Kind)
def test_how_much_comes_with_each_output(kind: Kind) -> None:
    prompt, methods = prompts(6)[5], THINK["two"]
    right = own(methods, prompt, Limits(128))
    outputs = served(LLM(2), ids(prompt), request(methods, n=2, output_kind=kind))
    assert [output.finished for output in outputs] == [False] * (len(outputs) - 1) + [True]
    if kind is Kind.FINAL_ONLY:
        assert len(outputs) == 1
        assert [one.index for one in outputs[0].outputs] == [0, 1]
    else:
        assert all(len(output.outputs) == 1 for output in outputs)
        assert len(outputs) > 20
    for index in (0, 1):
        ones = [one for output in outputs for one in output.outputs if one.index == index]
        assert [one.finish_reason for one in ones] == [None] * (len(ones) - 1) + [right.finish_reason]
        if kind is Kind.DELTA:
            assert tokens_of(outputs, index) == list(right.tokens)
            assert "".join(one.text for one in ones) == right.text
        else:
            assert list(ones[-1].token_ids) == list(right.tokens)
            assert ones[-1].text == right.text
            assert all(ones[-1].text.startswith(one.text) for one in ones)


def test_replies_are_drawn_apart_and_by_their_seeds() -> None:
    def drawn(**others: Any) -> list[list[int]]:
        params = request(THINK["budget and exit"], temperature=0.9, top_p=0.95, **others)
        outputs = served(LLM(3), ids(prompts(6)[4]), params)
        return [tokens_of(outputs, index) for index in range(params.n)]

    together = drawn(n=2, seed=7)
    assert together == [*drawn(seed=7), *drawn(seed=8)]
    assert together[0] != together[1]


def test_until_the_first_action_it_is_what_vllm_writes_by_itself() -> None:
    acted = 0
    for seed in range(12):
        params = Params(temperature=0.9, seed=seed, max_tokens=96)
        by_itself = tokens_of(served(LLM(3), ids(prompts(12)[seed]), params))
        methods = request(THINK["budget"], room=0, temperature=0.9, seed=seed, max_tokens=96)
        mine = tokens_of(served(LLM(3, follows=False), ids(prompts(12)[seed]), methods))
        until = min(20, len(by_itself) - 1)  # an end token in the thought gives way to a closing tag
        assert mine[:until] == by_itself[:until]
        acted += mine != by_itself
    assert acted > 2


@pytest.mark.parametrize("chunk", [1, 5])
def test_stop_strings_end_the_answer_alone(chunk: int) -> None:
    for prompt in prompts(6):
        answer = own(THINK["budget"], prompt, Limits(128)).answer
        stops = {answer[len(answer) // 2 :][:2], answer[-1], "\n\n", "h", "]", "<"}
        for stop in stops:
            right = own(THINK["budget"], prompt, Limits(128, (stop,)))
            outputs = served(LLM(chunk, follows=False), ids(prompt), request(THINK["budget"], stop=[stop]))
            assert "".join(one.text for output in outputs for one in output.outputs) == right.text
            last = outputs[-1].outputs[0]
            assert last.finish_reason == right.finish_reason
            assert last.stop_reason in (None, stop)
            assert right.answer or own(THINK["budget"], prompt, Limits(128)).answer.startswith(stop)


def test_parts_of_a_request_are_vllms_own_and_on_its_terms() -> None:
    llm = LLM(2)
    extra = {"laconic.think": "settled:0.06", "other": 3}
    params = Params(extra_args=extra, thinking_token_budget=90, temperature=0.5, top_p=0.9, min_tokens=0, stop="xyz")
    prompt = {**ids(prompts(6)[5]), "cache_salt": "s"}
    served(llm, prompt, params, priority=2, lora_request="adapter", prompt_text="?", reasoning_ended=False)
    assert len(llm.asked) == 3
    assert len({name for _, _, name, _ in llm.asked}) == len(llm.asked)
    for sent, part, name, kwargs in llm.asked:
        assert name.startswith("one-laconic-")
        assert (sent["type"], sent["cache_salt"], "prompt" in sent) == ("token", "s", False)
        assert kwargs == {"priority": 2, "lora_request": "adapter"}
        assert set(part.extra_args or {}) - {EXPECTED} == {"other", PART}
        assert (part.n, part.thinking_token_budget, part.output_kind, part.top_p) == (1, None, Kind.DELTA, 0.9)
        assert part.seed is None
    assert {part.temperature for _, part, _, _ in llm.asked} == {0.0, 0.5}
    assert params.extra_args == extra


def test_a_text_is_rendered_by_vllm() -> None:
    llm, prompt = LLM(), prompts(3)[2]
    outputs = served(llm, TEXT.decode(prompt), request(THINK["settled"]), tokenization_kwargs={"some": 1})
    assert tokens_of(outputs) == list(own(THINK["settled"], prompt, Limits(128)).tokens)
    assert llm.tok_params == {"some": 1}
    assert all("tokenization_kwargs" not in kwargs for _, _, _, kwargs in llm.asked)


def test_requests_of_others_and_those_of_the_workers_are_vllms() -> None:
    llm, prompt = LLM(4), prompts(6)[1]
    for params in (Params(), request(THINK["budget"]), Params(thinking_token_budget=5), object()):
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


def test_a_client_that_leaves_ends_what_is_under_way() -> None:
    async def leave(llm: LLM, *, cancel: bool) -> None:
        outputs = llm.generate(ids(prompts(6)[5]), request(THINK["two"], n=2), "one")
        task = asyncio.ensure_future(anext(outputs))
        if cancel:
            for _ in range(4):
                await asyncio.sleep(0)
            assert llm.open == 2
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        else:
            await task
            assert llm.open == 2
        await outputs.aclose()
        assert llm.open == 0
        assert llm.written < 20
        assert asyncio.all_tasks() == {asyncio.current_task()}

    for cancel in (False, True):
        asyncio.run(leave(LLM(), cancel=cancel))


@pytest.mark.parametrize("at", [1, 2, 3])
def test_what_vllm_raises_comes_through(at: int) -> None:
    llm, error = LLM(), RuntimeError("the engine is dead")
    llm.fails[at] = error
    with pytest.raises(RuntimeError) as raised:
        served(llm, ids(prompts(6)[5]), request(THINK["settled"], n=2))
    assert raised.value is error


@pytest.mark.parametrize("reason", ["abort", "error"])
@pytest.mark.parametrize("at", [1, 2])
def test_what_vllm_gives_up_is_given_up(at: int, reason: str) -> None:
    llm, prompt = LLM(), prompts(6)[5]
    llm.aborted[at] = reason
    outputs = served(llm, ids(prompt), request(THINK["settled"]))
    assert outputs[-1].outputs[0].finish_reason == reason
    assert tokens_of(outputs) == plain(prompt, 128)[: len(tokens_of(outputs))]
    assert len(llm.asked) == at


def test_a_controller_that_raises_ends_its_request_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fakes_of_methods(monkeypatch)
    llm, prompt = LLM(5, follows=False), prompts(6)[3]
    outputs = served(llm, ids(prompt), think("faulty"))
    last = outputs[-1].outputs[0]
    assert (last.finish_reason, last.stop_reason, outputs[-1].finished) == ("error", FAULT, True)
    assert tokens_of(outputs) == plain(prompt, 128)[: len(tokens_of(outputs))]
    assert "no decision" in caplog.text
    assert Count.made["laconic:faults"].of == {(): 1}
    assert tokens_of(served(llm, ids(prompt), request(THINK["settled"]))) == list(
        own(THINK["settled"], prompt, Limits(128)).tokens
    )


def test_what_was_done_is_counted() -> None:
    prompt = prompts(6)[5]
    right = own(THINK["two"], prompt, Limits(128))
    served(LLM(), ids(prompt), request(THINK["two"]))
    assert Count.made["laconic:requests"].of == {("loop-break+settled", "server"): 1}
    counted = Count.made["laconic:tokens"].of
    for kind in ("thinking", "answer", "injected"):
        assert counted[kind,] == getattr(right.usage, kind)
    assert counted["probed",] > 0
    assert sum(Count.made["laconic:actions"].of.values()) == len(right.events) > 0


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


def test_prompts_that_are_no_tokens_are_refused() -> None:
    with pytest.raises(Refused, match="not of multimodal"):
        served(LLM(), {**ids(prompts(1)[0]), "type": "multimodal"}, request(THINK["settled"]))
