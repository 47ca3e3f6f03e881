"""vLLM in the server's own process, made small: its engine writes, laconic decides."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from laconic.engine import Methods
from laconic.errors import RequestError, UnmetNeed
from laconic.models.defaults import Defaults
from laconic.policy import Card
from laconic.serve.job import Job, Told
from laconic.serve.within import VllmFailure, Within
from laconic.thinking.base import Controller, Reader
from laconic.types import Limits, Question, Request, Sampling
from tests.vllm_fakes import TEXT, own, prompts
from tests.vllm_server import LLM, Params, stand_ins

THINK = ("budget:20", "answer-confidence:0.3,tokens=8", "loop-break:every=16")


@pytest.fixture(autouse=True)
def vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins(monkeypatch)
    module = ModuleType("vllm")
    module.SamplingParams = Params  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)


def within(llm: LLM, think: tuple[str, ...] = (), places: int = 4) -> Within:
    methods = Methods(drafter="none", length="constant", think=think)
    made = Within("hashed", TEXT, methods, {}, context=512, vocab_size=264, defaults=Defaults(), places=places, queue=2)
    made._vllm = llm
    return made


def job(at: int = 0, sampling: Sampling | None = None, most: int = 60, **said: Any) -> Job:
    prompt = tuple(prompts(at + 1)[at])
    request = Request(prompt, sampling or Sampling(), Limits(most), phase=TEXT.phase(prompt))
    return Job(f"job-{at}", "-", request, **said)


def long() -> Job:
    """One whose thought goes on for a while."""
    jobs = (job(at, most=200) for at in range(40))
    return next(one for one in jobs if own((), one.request.prompt, one.request.limits).usage.thinking > 30)


async def news(job: Job) -> list[Told]:
    return [told async for told in job.news()]


@pytest.mark.parametrize("think", [(), THINK[:1], THINK[1:2], THINK], ids=["none", "budget", "probing", "all"])
def test_replies_are_those_of_the_own_engine(think: tuple[str, ...]) -> None:
    """Several at once, each with what has been told of it on the way."""
    llm = LLM(chunk=3)
    backend, jobs = within(llm, think), [job(at) for at in range(4)]

    async def serve() -> list[list[Told]]:
        for one in jobs:
            backend.submit(one)
        return await asyncio.gather(*map(news, jobs))

    for one, told in zip(jobs, asyncio.run(serve()), strict=True):
        right, found = own(think, one.request.prompt, one.request.limits), told[-1].result
        assert found is not None
        assert found.tokens == right.tokens
        assert (found.thinking, found.answer) == (right.thinking, right.answer)
        assert [event.method for event in found.events] == [event.method for event in right.events]
        assert sum(len(step.tokens) for one_told in told for step in one_told.steps) == len(right.tokens)
        assert len(told) > 1
    assert llm.open == 0
    assert backend.load().running == 0


def test_a_thought_is_ended_when_the_client_wants_it() -> None:
    llm = LLM()
    backend, one = within(llm), long()

    async def serve() -> list[Told]:
        backend.submit(one)
        found: list[Told] = []
        async for told in one.news():
            found.append(told)
            if len(found) == 4:
                assert await backend.conclude(one)
        assert not await backend.conclude(one)
        return found

    result = asyncio.run(serve())[-1].result
    assert result is not None
    assert [event.method for event in result.events][:1] == ["client"]
    assert result.events[0].tokens < 10
    assert llm.open == 0


def test_a_client_that_goes_stops_vllm() -> None:
    llm = LLM()
    backend, one, waits = within(llm, places=1), long(), job(1)

    async def serve() -> None:
        backend.submit(one)
        backend.submit(waits)
        async for told in one.news():
            if told.steps:
                break
        written = llm.written
        backend.cancel(one)
        assert (await news(one))[-1].error is not None
        assert llm.written - written < 5
        assert (await news(waits))[-1].result is not None

    asyncio.run(serve())
    assert llm.open == 0


@pytest.mark.parametrize("fault", ["raised", "aborted"])
def test_what_fails_in_vllm_fails_one_request(fault: str) -> None:
    llm = LLM()
    if fault == "raised":
        llm.fails[1] = ValueError("no")
    else:
        llm.aborted[1] = "abort"
    backend, one, other = within(llm), long(), job(1)

    async def serve() -> tuple[list[Told], list[Told]]:
        backend.submit(one)
        first = await news(one)
        backend.submit(other)
        return first, await news(other)

    first, second = asyncio.run(serve())
    assert isinstance(first[-1].error, VllmFailure)
    assert second[-1].result is not None


def test_what_vllm_does_not_take_is_refused_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    class Strict(Params):
        def __init__(self, **said: Any) -> None:
            super().__init__(**said)
            if self.temperature > 2:
                raise ValueError("temperature must be in [0, 2]")

    monkeypatch.setattr(sys.modules["vllm"], "SamplingParams", Strict)
    backend = within(LLM())
    with pytest.raises(RequestError, match="temperature"):
        backend.submit(job(sampling=Sampling(3.0)))
    assert not backend.load().running


@pytest.mark.parametrize("sampling", [Sampling(presence_penalty=0.5), Sampling(frequency_penalty=0.5)])
def test_penalties_that_count_what_was_written_are_refused(sampling: Sampling) -> None:
    backend = within(LLM())
    with pytest.raises(RequestError, match="penalty"):
        backend.submit(job(sampling=sampling))


class Asks(Controller):
    """Wants to know before it begins how likely the model is to think."""

    name = "asks"
    card = Card(paper="none", lossless=False)

    def resolve(self, question: Question, reader: Reader) -> Sequence[Controller]:
        reader.thought(question)
        return (self,)

    def walk(self) -> Any:
        yield self


def test_methods_that_read_first_are_refused_by_name() -> None:
    """There is nobody who reads for them."""
    backend, one = within(LLM()), job()
    question = Question(({"role": "user", "content": "2 * 7?"},))
    asked = Job("x", "-", replace(one.request, question=question), (Asks(),))

    async def serve() -> list[Told]:
        backend.submit(asked)
        return await news(asked)

    assert isinstance(asyncio.run(serve())[-1].error, UnmetNeed)
