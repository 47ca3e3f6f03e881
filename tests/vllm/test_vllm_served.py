"""What vLLM's server tells of requests whose controllers ask the model questions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from laconic import Limits
from laconic.vllm.admission import FAULT
from tests.vllm_fakes import TEXT, Kind, Params, fakes_of_methods, own, plain, prompts, think
from tests.vllm_server import LLM, Count, ids, served, stand_ins, tokens_of

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


@pytest.mark.parametrize("chunk", [1, 4])
def test_stop_tokens_end_the_answer_and_in_the_thought_no_more_than_that(chunk: int) -> None:
    thoughts = 0
    for prompt in prompts(6):
        right = own(THINK["budget"], prompt, Limits(128))
        token = TEXT.encode(right.answer)[-1]
        outputs = served(LLM(chunk, follows=False), ids(prompt), request(THINK["budget"], stop_token_ids=[token]))
        text, told = "".join(one.text for output in outputs for one in output.outputs), tokens_of(outputs)
        if (piece := TEXT.decode([token])) in right.thinking[:24]:
            thoughts += 1
            thought, _, answer = text.partition("</think>")
            assert thought == right.thinking[: right.thinking.index(piece) + 1]
            assert answer.strip()
            continue
        assert (outputs[-1].outputs[0].finish_reason, outputs[-1].outputs[0].stop_reason) == ("stop", token)
        assert told == list(right.tokens[: len(told)])
        assert told[-1] == token
        assert text == TEXT.decode(told[:-1])
    assert 0 < thoughts < 6


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


def test_a_request_is_aborted_by_its_name() -> None:
    async def told(llm: LLM) -> list[Any]:
        outputs = []
        async for output in llm.generate(ids(prompts(6)[5]), request(THINK["two"], n=2), "one"):
            outputs.append(output)
            llm.abort("one")
        return outputs

    llm = LLM()
    ends = [one.finish_reason for output in asyncio.run(told(llm)) for one in output.outputs if one.finish_reason]
    assert ends == ["abort", "abort"]
    assert (llm.open, len(llm.asked)) == (0, 2)


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
