"""A thought is ended from outside at awkward moments, over models that write elsewhere: what was under way is void."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pytest

from laconic.engine import Methods
from laconic.models.defaults import Defaults
from laconic.models.remote import RemoteModel
from laconic.remote import RemoteEngine
from laconic.sequence import Sequence as Reply
from laconic.serve.job import Job, Told
from laconic.serve.within import Within
from laconic.thinking.base import Probe
from laconic.types import Limits, Request, Result
from tests.server import Manners, Server, following
from tests.vllm_fakes import END, MODEL, TEXT, prompts
from tests.vllm_server import LLM, Params, stand_ins


@pytest.fixture(autouse=True)
def vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins(monkeypatch)
    module = ModuleType("vllm")
    module.SamplingParams = Params  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)


def within(llm: LLM, places: int = 4) -> Within:
    methods = Methods(drafter="none", length="constant")
    made = Within("hashed", TEXT, methods, {}, context=512, vocab_size=264, defaults=Defaults(), places=places, queue=4)
    made._vllm = llm
    return made


def thinking(prompt: Sequence[int], most: int = 200) -> Request:
    return Request(tuple(prompt), limits=Limits(most), phase="thinking")


def long() -> Request:
    """One whose thought goes on for a while."""
    found = (thinking(prompt) for prompt in prompts(40))
    return next(one for one in found if TEXT.close_token not in greedy(one.prompt, 40))


def greedy(prompt: Sequence[int], most: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(most):
        tokens.append(int(MODEL.after(tokens).argmax()))
    return tokens[len(prompt) :]


def follows(request: Request, result: Result) -> None:
    """Every token but those written by force is the model's own choice after all that stands before it."""
    tokens, prompt = [*request.prompt, *result.tokens], len(request.prompt)
    forced = TEXT.encode(TEXT.format.ending)
    at = next(i for i in range(prompt, len(tokens)) if tokens[i : i + len(forced)] == forced)
    assert result.events[0].method == "client"
    assert result.events[0].tokens + prompt <= at
    for i in [*range(prompt, result.events[0].tokens + prompt), *range(at + len(forced), len(tokens))]:
        row = MODEL.after(tokens[:i])
        right = {int(row.argmax()), int(row.index_fill(0, row.new_tensor([END]).long(), -1e9).argmax())}
        assert tokens[i] in right, f"token {i} does not follow from what stands before it"
    assert len(tokens) > at + len(forced)


async def news(job: Job) -> list[Told]:
    return [told async for told in job.news()]


@pytest.mark.parametrize("chunk", [1, 3])
@pytest.mark.parametrize("after", [1, 2, 5])
def test_the_answer_in_vllm_follows_from_what_was_told(after: int, chunk: int) -> None:
    llm = LLM(chunk=chunk)
    backend, request = within(llm), long()
    job = Job("job", "-", request)

    async def serve() -> Result:
        backend.submit(job)
        heard = 0
        async for told in job.news():
            heard += 1
            if heard == after:
                assert await backend.conclude(job)
            if told.result is not None:
                return told.result
        raise AssertionError("no end")

    follows(request, asyncio.run(serve()))
    assert llm.open == 0


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_the_answer_upstream_follows_though_a_probe_is_out(at: int, ahead: bool) -> None:
    request = long()
    with Server(following(MODEL.after), TEXT, Manners()) as server:
        model = RemoteModel(server.url, "tiny", retries=0)
        with RemoteEngine(model, TEXT, ("answer-confidence:1.0,tokens=6",), context=512, ahead=ahead) as engine:
            loop = engine.loop()
            s = loop.add(request)
            answer, asked = loop._answer, [0]

            async def concluded(s: Reply, probe: Probe) -> None:
                asked[0] += 1
                if asked[0] == at:
                    assert loop.conclude(s, "enough")
                await answer(s, probe)

            loop._answer = concluded  # type: ignore[method-assign]
            engine.model.wait(loop.finish(s))
            follows(request, engine.result(s))
            assert not loop._under_way
            assert not loop.active


def test_a_client_that_goes_after_it_asked_for_the_answer_leaves_nothing_behind() -> None:
    """Both in one turn of the event loop."""
    llm = LLM()
    backend, job = within(llm), Job("job", "-", long())

    async def serve() -> list[Told]:
        backend.submit(job)
        async for told in job.news():
            if told.steps:
                break
        task = backend._tasks[job]
        assert await backend.conclude(job)
        backend.cancel(job)
        found = await news(job)
        assert task.done()
        return found

    assert asyncio.run(serve())[-1].error is not None
    assert llm.open == 0
    assert backend.load().running == 0


@pytest.mark.parametrize("begun", [True, False], ids=["that begins", "in the line"])
def test_what_has_not_begun_ends_its_thought_as_soon_as_it_does(begun: bool) -> None:
    llm = LLM()
    backend, request = within(llm, places=1), long()
    first, job = Job("first", "-", request), Job("job", "-", request)

    async def serve() -> list[Any]:
        for one in [job] if begun else [first, job]:
            backend.submit(one)
        assert await backend.conclude(job)
        return await news(job)

    result = asyncio.run(serve())[-1].result
    assert result is not None
    assert [(event.method, event.tokens) for event in result.events] == [("client", 0)]
    follows(request, result)


def test_an_answer_that_has_not_begun_is_none_to_end() -> None:
    backend = within(LLM())
    job = Job("job", "-", Request(tuple(prompts(2)[1]), limits=Limits(20), phase="answer"))

    async def serve() -> bool:
        backend.submit(job)
        found = await backend.conclude(job)
        await news(job)
        return found

    assert not asyncio.run(serve())


@pytest.mark.parametrize("grace", [0.0, 20.0])
def test_who_waits_when_the_server_ends_is_served_or_told(grace: float) -> None:
    llm = LLM()
    backend, jobs = within(llm, places=1), [Job(str(at), "-", long()) for at in range(3)]

    async def serve() -> list[Told]:
        for job in jobs:
            backend.submit(job)
        await asyncio.sleep(0)
        await super(Within, backend).stop(grace)  # the stand-in has no engine to shut down
        return [(await news(job))[-1] for job in jobs]

    for told in asyncio.run(asyncio.wait_for(serve(), 30)):
        assert (told.error is None) == (grace > 0)
        assert (told.result is None) == (grace == 0)
    assert llm.open == 0
