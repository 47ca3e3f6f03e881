"""What one request may ask for beyond sampling and limits: biases and penalties, logprobs, predictions, an end."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import replace

import pytest
import torch

from laconic import reference
from laconic.engine import Engine, Methods
from laconic.errors import RequestError
from laconic.landing import TEXT
from laconic.loop import Loop
from laconic.models.base import chain
from laconic.prediction import Prediction
from laconic.types import Limits, Request, Sampling

QUESTIONS = ("What is 37 * 48 + 15?", "What is 12 + 30 - 7?", "What is 91 - 45?")
RULES = (
    Sampling(presence_penalty=0.7),
    Sampling(frequency_penalty=0.3, presence_penalty=-0.2),
    Sampling(temperature=0.8, seed=5, frequency_penalty=0.2, repetition_penalty=1.1),
    Sampling(logit_bias=((7, 2.5), (11, -100.0), (10**6, 3.0))),
)


@pytest.fixture(scope="module")
def engine() -> Engine:
    torch.set_num_threads(1)
    return Engine.load("bundled", drafter="draft-model")


def rows(engine: Engine, tokens: list[int]) -> torch.Tensor:
    """Logits of a pass over a whole text."""
    with closing(engine.target.open()) as slot:
        return engine.target.score([chain(tokens)], [slot]).of(0)


@pytest.mark.parametrize("sampling", RULES, ids=str)
def test_biases_and_penalties_hold_under_drafts(engine: Engine, sampling: Sampling) -> None:
    """The text is that of the slow loop under the same rules, alone and in a batch; and rules change it."""
    requests = [engine.request(q, sampling=sampling, limits=Limits(60)) for q in QUESTIONS]
    alone = [engine.run([request])[0] for request in requests]
    assert [one.tokens for one in alone] == [one.tokens for one in engine.run(requests, batch=3)]
    for request, one in zip(requests, alone, strict=True):
        slow = reference.decode(lambda tokens: rows(engine, list(tokens))[-1], engine.text, request)[0]
        assert list(one.tokens) == slow
    assert sum(one.usage.accepted for one in alone) > 0


def test_a_banned_token_is_never_written(engine: Engine) -> None:
    free = engine.generate(QUESTIONS[0], limits=Limits(200))
    often = max(set(free.tokens), key=free.tokens.count)
    held = engine.generate(QUESTIONS[0], limits=Limits(60), sampling=Sampling(logit_bias=((often, -100.0),)))
    assert often in free.tokens
    assert often not in held.tokens


@pytest.mark.parametrize(
    "said", [{"presence_penalty": math.nan}, {"logit_bias": ((-1, 1.0),)}, {"logit_bias": ((1, math.inf),)}]
)
def test_what_is_no_rule_is_refused(said: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        Sampling(**said)  # type: ignore[arg-type]


def test_logprobs_are_the_models_own(engine: Engine) -> None:
    """Those of a pass over the whole text, whatever was drafted."""
    request = replace(engine.request(QUESTIONS[0]), logprobs=3)
    loop = engine.loop()
    s = loop.add(request)
    steps = []
    while not s.done:
        loop.step()
        steps += s.drain()
    right = rows(engine, s.tokens).log_softmax(-1)
    at, seen = len(request.prompt), 0
    for step in steps:
        for place, said in enumerate(step.logprobs, start=at):
            assert said is not None
            assert said.token == s.tokens[place]
            assert said.logprob == pytest.approx(float(right[place - 1, said.token]), abs=1e-3)
            assert [value for _, value in said.top] == pytest.approx(right[place - 1].topk(3)[0].tolist(), abs=1e-3)
            seen += 1
        at += len(step.tokens)
    assert seen == len(s.tokens) - len(request.prompt) > 0


def test_every_token_has_an_origin(engine: Engine) -> None:
    stream = engine.using(think=("budget:20",)).stream(QUESTIONS[0])
    steps = list(stream)
    origins = [origin for step in steps for origin in step.origins]
    assert len(origins) == len(stream.result.tokens)
    assert origins.count("injected") == stream.result.usage.injected > 0
    assert origins.count("draft") > 0
    assert all(set(step.origins) == {"injected"} for step in steps if step.kind == "injected")


def finished(loop: Loop, request: Request, after: int) -> str:
    s = loop.add(request)
    for _ in range(after):
        loop.step()
    assert loop.conclude(s, "asked for")
    while not s.done:
        loop.step()
    loop.cancel(s)
    assert [event.method for event in s.events] == ["client"]
    result = s.result()
    assert result.answer
    return result.thinking


@pytest.mark.parametrize("think", [(), ("answer-confidence:0.999",)], ids=["free", "probing"])
@pytest.mark.parametrize("after", [0, 1, 5])
def test_a_thought_ends_when_somebody_outside_wants_it(engine: Engine, think: tuple[str, ...], after: int) -> None:
    ready = engine.using(think=think)
    request = ready.request(QUESTIONS[0])
    free = engine.generate(QUESTIONS[0])
    thinking = finished(ready.loop(), request, after)
    assert len(thinking) < len(free.thinking)
    begun = thinking.removesuffix(TEXT.strip()).strip()
    assert free.thinking.startswith(begun)


def test_an_answer_cannot_be_concluded(engine: Engine) -> None:
    loop = engine.loop()
    s = loop.add(engine.request(QUESTIONS[0], thinking=False))
    loop.step()
    assert not loop.conclude(s, "asked for")
    loop.cancel(s)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.8, seed=3)], ids=["greedy", "sampled"])
def test_a_prediction_saves_passes_and_changes_nothing(engine: Engine, sampling: Sampling) -> None:
    plain = engine.using(drafter="none", length="constant")
    request = plain.request(QUESTIONS[0], sampling=sampling, thinking=False)
    (free,) = plain.run([request])
    right, wrong = (replace(request, prediction=tuple(p)) for p in (free.tokens, free.tokens[::-1]))
    helped, misled = plain.run([right, wrong], batch=2)
    assert helped.tokens == misled.tokens == free.tokens
    assert helped.usage.target_passes < free.usage.target_passes
    assert helped.usage.predicted > 0
    assert misled.usage.mispredicted > 0


def test_a_prediction_is_followed_where_it_comes_again() -> None:
    prediction = Prediction([1, 2, 3, 9, 1, 2, 3, 4])
    assert prediction.draft([], 2) == (1, 2)
    assert prediction.draft([1, 2, 3], 4) == (9, 1, 2, 3)
    assert prediction.draft([1, 2, 3, 9, 1, 2, 3], 9) == (4,)
    assert prediction.draft([5], 9) == ()


def test_a_request_without_drafts_is_decoded_plainly_beside_others(engine: Engine) -> None:
    request = engine.request(QUESTIONS[0])
    plainly, drafted = engine.run([replace(request, drafts=False), request], batch=2)
    assert plainly.tokens == drafted.tokens
    assert plainly.usage.drafted == 0
    assert drafted.usage.drafted > 0


def test_a_prompt_is_read_in_pieces(engine: Engine) -> None:
    """Whatever the pieces, the text is the same; and others may go on in between."""
    long = engine.request([{"role": "user", "content": f"{QUESTIONS[0]} " * 12}], limits=Limits(40))
    assert len(long.prompt) > 150
    (whole,) = engine.run([long])
    loop = engine.loop()
    other = loop.add(engine.request(QUESTIONS[1]))
    s, reads = loop.arrive(long), 0
    while not loop.read(s, 20):
        reads += 1
        loop.step()
    assert reads >= 3
    while not s.done:
        loop.step()
    assert tuple(s.tokens[len(long.prompt) :]) == whole.tokens
    loop.cancel(other)


def test_one_controller_need_not_be_in_a_tuple():
    """A string would otherwise be taken for a list of one-letter names."""
    assert Methods(think="settled").think == ("settled",)  # type: ignore[arg-type]
    assert Methods(think=["settled", "no-wait"]).think == ("settled", "no-wait")  # type: ignore[arg-type]
    assert [policy.name for policy in Methods(think="settled").plan().controllers] == ["settled"]  # type: ignore[arg-type]
