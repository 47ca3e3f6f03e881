"""A promise holds where all is as it was measured, and nowhere else."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from laconic import Engine, Limits, Methods, Sampling
from laconic.bench.harm.promise import circumstances, differences, said, told
from laconic.config import PromiseTable
from laconic.errors import UnmetNeed
from laconic.models.causal_lm import CausalLM
from laconic.models.text import Text
from tests import tiny
from tests.fakes import FakeModel

TARGET = CausalLM(tiny.model(1))
TEXT = tiny.text()
LIMITS, WARM = Limits(100), Sampling(0.7, top_k=20)


def engine(think: tuple[str, ...] = ("budget:40",), **changes: Any) -> Engine:
    methods = Methods(drafter="prompt-lookup", think=think, verifier=changes.pop("verifier", "match"))
    return Engine(changes.get("target", TARGET), changes.get("text", TEXT), methods)


def promise(**changes: Any) -> PromiseTable:
    made: dict[str, Any] = {
        "think": ("budget:40",), "kind": "right-answers-lost", "harm": 0.05, "confidence": 0.95, "n": 200,
        "at_stake": 150, "harms": 3, "upper_bound": 0.0382, "data": "0" * 64, "uncut": True,
        **circumstances(engine(), WARM, LIMITS),
    }  # fmt: skip
    return PromiseTable.model_validate(made | changes)


def test_it_holds_as_it_was_measured_whatever_the_seed_and_the_drafts() -> None:
    for sampling in (WARM, Sampling(0.7, top_k=20, seed=9)):
        assert differences(promise(), engine(), sampling, LIMITS) == []
    assert differences(promise(think=("budget:tokens=40",)), engine(), WARM, LIMITS) == []
    assert differences(promise(), engine().using(drafter="suffix", length="aimd"), WARM, LIMITS) == []
    line = said(promise(), [])
    assert line == (
        "promise: with 95 % confidence, fewer than 5 % of prompts like the 200 that were measured lose their right "
        "answer (3 did)"
    )
    assert "get another answer, or none" in said(promise(kind="answers-changed"), [])
    assert told(promise(), []) == {"holds": True, "differences": [], **promise().model_dump(mode="json")}


OTHERS: dict[str, tuple[dict[str, Any], Any, Any, str]] = {
    "method": ({"think": ("budget:41",)}, WARM, LIMITS, "thinking control is budget:tokens=41, not budget:40"),
    "no method": ({"think": ()}, WARM, LIMITS, "thinking control is none"),
    "one more method": ({"think": ("budget:40", "no-wait")}, WARM, LIMITS, "budget:tokens=40 + no-wait"),
    "verifier": ({"verifier": "match:relax=[top-k]"}, WARM, LIMITS, "drafts may change what is written"),
    "weights": ({"target": CausalLM(tiny.model(2))}, WARM, LIMITS, "the model is another one"),
    "no weights": ({"target": FakeModel.random(0, vocab=264)}, WARM, LIMITS, "not one that can be told from others"),
    "words": ({"text": Text(tiny.tokenizer(), system="Be brief.")}, WARM, LIMITS, "asked in other words"),
    "temperature": ({}, Sampling(0.8, top_k=20), LIMITS, "temperature is 0.8, not 0.7"),
    "greedy": ({}, Sampling(), LIMITS, "temperature is 0, not 0.7"),
    "top-k": ({}, Sampling(0.7, top_k=21), LIMITS, "top_k is 21, not 20"),
    "top-p": ({}, Sampling(0.7, 20, 0.9), LIMITS, "top_p is 0.9, not 1"),
    "min-p": ({}, Sampling(0.7, 20, 1.0, 0.1), LIMITS, "min_p is 0.1, not 0"),
    "penalty": ({}, Sampling(0.7, 20, repetition_penalty=1.1), LIMITS, "repetition_penalty is 1.1, not 1"),
    "presence": ({}, Sampling(0.7, 20, presence_penalty=0.5), LIMITS, "presence_penalty is 0.5, not 0"),
    "bias": ({}, Sampling(0.7, 20, logit_bias=((3, 1.0),)), LIMITS, "logit_bias is ((3, 1.0),), not ()"),
    "fewer tokens": ({}, WARM, Limits(99), "the limits of new tokens are not 100"),
    "another room": ({}, WARM, Limits(100, answer_room=50), "the limits of new tokens are not 100"),
    "stop strings": ({}, WARM, Limits(100, stop=("x",)), "stop strings"),
}


@pytest.mark.parametrize(("changes", "sampling", "limits", "why"), OTHERS.values(), ids=OTHERS)
def test_anything_else_breaks_it_and_is_named(
    changes: dict[str, Any], sampling: Sampling, limits: Limits, why: str
) -> None:
    (found,) = differences(promise(), engine(**changes), sampling, limits)
    assert why in found
    assert said(promise(), [found]) == f"promise: does not hold here, since {found}"
    assert told(promise(), [found])["holds"] is False


def test_every_way_of_drawing_is_compared_but_the_seed() -> None:
    assert {field.name for field in fields(Sampling)} - {"seed"} <= set(PromiseTable.model_fields)


def test_filters_do_not_matter_where_nothing_is_drawn() -> None:
    greedy = promise(**circumstances(engine(), Sampling(), LIMITS))
    assert differences(greedy, engine(), Sampling(0.0, top_k=5, top_p=0.5), LIMITS) == []


def test_longer_texts_may_be_allowed_where_none_was_cut() -> None:
    for limits in (Limits(5000), Limits(5000, answer_room=0), Limits(100, answer_room=0)):
        assert differences(promise(uncut=True), engine(), WARM, limits) == []
        (why,) = differences(promise(uncut=False), engine(), WARM, limits)
        assert "limits of new tokens" in why
    assert differences(promise(uncut=False), engine(), WARM, LIMITS) == []
    (why,) = differences(promise(uncut=True), engine(), WARM, Limits(5000, answer_room=4900))
    assert "limits of new tokens" in why


def test_limits_beyond_the_context_are_the_context() -> None:
    whole = promise(**circumstances(engine(), WARM, Limits(512)), uncut=False)
    assert whole.max_tokens == TARGET.context == 512
    assert differences(whole, engine(), WARM, Limits(32_768)) == []


def test_thinking_that_is_switched_off_and_numbers_that_promise_nothing() -> None:
    (why,) = differences(promise(), engine(), WARM, LIMITS, thinking=False)
    assert why == "thinking is switched off"
    (why,) = differences(promise(harms=9), engine(), WARM, LIMITS)
    assert why == "9 harmed of 200 do not allow it"


def test_a_model_without_a_fingerprint_cannot_be_promised_for() -> None:
    with pytest.raises(UnmetNeed, match="cannot be told from others"):
        circumstances(engine(target=FakeModel.random(0, vocab=264)), WARM, LIMITS)
