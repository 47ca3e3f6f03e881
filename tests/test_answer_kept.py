"""What stands between a thought and its answer: stop strings, further closing tags, hand-over texts, early ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import torch

from laconic import Engine, Limits, Methods, Request, Result, Sampling, reference
from laconic.types import Question
from tests import tiny
from tests.fakes import FakeModel, Hashed

TEXT = tiny.text()
PROMPT = "Why?</think>\n\n}</think>x Q<think>\n"
"""Holds what the model will write, so that drafts from the prompt can hold."""


class Follows(FakeModel):
    """Writes, behind each of some texts, a given one; ``x`` behind any other."""

    def __init__(self, then: Mapping[str, str], context: int = 4096) -> None:
        super().__init__(torch.zeros(1, 1, 264), context)
        self.then, self.start = then, len(TEXT.encode(PROMPT))

    def after(self, tokens: Sequence[int]) -> torch.Tensor:
        written = TEXT.decode(list(tokens)[self.start :])
        row = torch.zeros(self.vocab_size)
        row[TEXT.encode("x")[0]] = 5.0
        row[TEXT.encode(self.then.get(written, "x"))[0]] = 20.0
        return row


def spelled(reply: str) -> dict[str, str]:
    """Each token of a reply, by what stands before it."""
    tokens = TEXT.encode(reply)
    return {TEXT.decode(tokens[:at]): TEXT.decode([token]) for at, token in enumerate(tokens)}


def run(model: FakeModel, limits: Limits, **methods: object) -> Result:
    given = {"drafter": "none", "length": "constant"} | methods
    request = Request(tuple(TEXT.encode(PROMPT)), Sampling(), limits)
    engine = Engine(model, TEXT, Methods(**given))  # type: ignore[arg-type]
    (result,) = engine.run([request])
    tokens, finish = reference.decode(model.after, TEXT, request, engine.plan.controllers, model.context)
    assert (list(result.tokens), result.finish_reason) == (tokens, finish)
    return result


DRAFTERS = [("none", "constant"), ("prompt-lookup", "constant:6"), ("suffix", "constant:6")]


@pytest.mark.parametrize(("drafter", "length"), DRAFTERS)
@pytest.mark.parametrize("think", [(), ("loop-break",)])
def test_another_tag_behind_an_answer_that_was_owed_ends_the_text_as_it_would(
    drafter: str, length: str, think: tuple[str, ...]
) -> None:
    then = spelled("ab<|im_end|>") | {
        "ab</think>\n\n": "}",
        "ab</think>\n\n}": "</think>",
        "ab</think>\n\n}</think>": "<|im_end|>",
    }
    result = run(Follows(then), Limits(80), drafter=drafter, length=length, think=think)
    assert (result.answer, result.finish_reason) == ("}", "stop")


@pytest.mark.parametrize(("drafter", "length"), DRAFTERS)
@pytest.mark.parametrize("lead", ["", "\n\n", " "])
def test_an_end_right_behind_the_tag_is_drawn_again(drafter: str, length: str, lead: str) -> None:
    then = spelled(f"ab</think>{lead}<|im_end|>") | {f"ab</think>{lead}x": "<|im_end|>"}
    assert run(Follows(then), Limits(80), drafter=drafter, length=length).answer == "x"
    assert run(Follows(then), Limits(80, answer_room=0), drafter=drafter, length=length).answer == ""


def test_what_is_drawn_again_keeps_its_probabilities() -> None:
    then = spelled("ab</think><|im_end|>") | {"ab</think>x": "<|im_end|>"}
    tokens = TEXT.encode(PROMPT)
    model = Follows(then)
    engine = Engine(model, TEXT, Methods(drafter="none", length="constant", think=("settled",)))
    loop = engine.loop()
    sequence = loop.add(Request(tuple(tokens), limits=Limits(80)))
    while not sequence.done:
        loop.step()
    assert sequence.chances is not None
    assert len(sequence.chances) == sequence.generated


STOPS = [("\n\n",), ("\n",), ("\n\n", "12")]


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("think", [(), ("budget:1",)])
def test_a_stop_string_in_the_bridge_loses_no_answer(stop: tuple[str, ...], think: tuple[str, ...]) -> None:
    words = "Time is up, so I will answer with what I have.\n"
    begun = f"a\n\n{words}</think>\n\n" if think else "ab</think>\n\n"
    then = spelled(f"{begun}It is 9.\n\nOr 12.<|im_end|>") | spelled("ab</think>\n\n")
    result = run(Follows(then), Limits(120, stop), think=think)
    assert (result.answer, result.finish_reason) == ("It is 9.", "stop")
    assert result.text.endswith("It is 9.")


def test_a_stop_string_at_the_head_of_an_answer_is_still_one() -> None:
    result = run(Follows(spelled("ab</think>\n\nNo.<|im_end|>")), Limits(80, ("No",)))
    assert (result.answer, result.finish_reason) == ("", "stop")


@pytest.mark.parametrize("spec", ["budget:20", "soft-landing:20", "loop-break:every=8"])
@pytest.mark.parametrize("most", [24, 28, 32, 36, 40, 44, 64])
def test_words_that_hand_over_do_not_cost_the_answer(spec: str, most: int) -> None:
    model = Follows({})  # x for ever
    result = run(model, Limits(most), think=(spec,))
    assert "</think>" in result.text
    assert result.answer
    said = [event.reason for event in result.events if "there is no room for its words" in event.reason]
    assert bool(said) == ("answer with what I have" not in result.thinking and result.events[0].method != "loop")


@pytest.mark.parametrize("probes", ["branch", "separate"])
@pytest.mark.parametrize("spec", ["settled", "answer-agreement:2", "answer-confidence:0.9"])
def test_probes_stay_within_the_context(spec: str, probes: str) -> None:
    written = "So 12.\n\nIs it 12?\n\n12 again.\n\n12.\n\n"
    start = len(TEXT.encode(PROMPT))
    for more in range(3, 90, 3):
        model = Follows(spelled(written), context=start + more)  # which asserts that nothing lies beyond it
        for drafter, length in DRAFTERS:
            result = run(model, Limits(400), think=(spec,), probes=probes, drafter=drafter, length=length)
            assert len(result.tokens) <= more


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_a_reply_to_a_question_does_not_end_before_it_begins(temperature: float) -> None:
    """A model that likes to end at once is asked again; a text that is only written on may be over."""
    model = Hashed(TEXT, {TEXT.decode([min(TEXT.eos)]): 30.0})
    question = Question(({"role": "user", "content": "2 * 7?"},))
    asked = Request(
        tuple(TEXT.encode("2 * 7?")), Sampling(temperature), Limits(20), question, controllers=(), phase="before"
    )
    for request, empty in ((asked, False), (replace(asked, question=None), True)):
        for drafter in ("none", "suffix"):
            engine = Engine(model, TEXT, Methods(drafter=drafter, length="constant:4"))
            (alone,), many = engine.run([request]), engine.run([request, request], batch=2)
            tokens, finish = reference.decode(model.after, TEXT, request, (), model.context)
            assert list(alone.tokens) == tokens
            assert [one.tokens for one in many] == [alone.tokens] * 2
            assert alone.finish_reason == finish
            assert (len(tokens) == 1) == empty
