"""Texts that are not written again are those that would have been written."""

from __future__ import annotations

from typing import Any

import pytest

from laconic import Engine, Limits, Methods, Request, Result, Sampling
from laconic.bench.harm.asked import CHUNK, Asked, untouched
from laconic.bench.harm.judge import Answer
from laconic.bench.tasks import Item
from laconic.models.causal_lm import CausalLM
from laconic.models.text import Text
from laconic.policy import Card
from laconic.thinking.base import Ban, Continue, Controller, LogitRule, View
from tests import tiny

Written = tuple[Engine, list[Request], list[Result]]


@pytest.fixture(scope="module")
def written() -> Written:
    """Texts of a random model that closes most of its thoughts, of 10 to 39 tokens, and ends by itself."""
    target = CausalLM(tiny.model(1, bias=tiny.REASONER | {"</think>": 3.0}))
    engine = Engine(target, tiny.text(), Methods(drafter="none"))
    requests = [engine.request(tiny.begun(f"What is {i}+{i}?"), limits=Limits(150)) for i in range(24)]
    return engine, requests, engine.run(requests, batch=8)


def kept(written: Written, *think: str) -> list[bool]:
    engine, requests, free = written
    under = engine.using(think=think)
    return [untouched(under, request, result) for request, result in zip(requests, free, strict=True)]


@pytest.mark.parametrize(
    "spec",
    [
        "budget:60",
        "budget:24",
        "budget:18,landing=0.5",
        "budget:9",
        "trimr:2",
        "no-wait",
        "budget:60,minimum=20",
    ],
)
def test_what_is_said_to_be_untouched_is(written: Written, spec: str) -> None:
    engine, requests, free = written
    found = kept(written, spec)
    assert any(found)
    results = engine.using(think=(spec,)).run(requests, batch=8)
    assert found == [
        not before.events and not now.events and now.tokens == before.tokens
        for before, now in zip(free, results, strict=True)
    ]


@pytest.mark.parametrize(
    "spec",
    ["settled", "answer-confidence:1", "answer-agreement:10", "closing-rank:1", "budget:60,answer=30",
     "soft-landing:60", "be-concise", "trimr:most=2,cues=\\w"],
)  # fmt: skip
def test_what_may_have_been_touched_is_written_again(written: Written, spec: str) -> None:
    assert not any(kept(written, "budget:100", spec))


def test_a_rule_of_the_answer_matters_where_it_forbids_what_was_written(written: Written) -> None:
    class Without(Controller):
        """No answer holds the token."""

        card = Card(paper="a test's own", lossless=False)

        def __init__(self, token: int) -> None:
            object.__setattr__(self, "token", token)

        def spec(self) -> str:
            return "without"

        def start(self, request: Request, text: Text) -> int:
            return self.token  # type: ignore[attr-defined, no-any-return]

        def rule(self, state: int) -> LogitRule:
            return Ban(lambda place: (state,) if place.phase == "answer" else ())

        def decide(self, state: int, view: View) -> Continue:
            return Continue()

    engine, requests, free = written
    clean = [i for i, result in enumerate(free) if not result.events]
    brace, never = engine.text.encode("}")[0], engine.text.encode("Z")[0]
    for token, expected in ((brace, []), (never, clean)):
        under = engine.using(think=(Without(token),))
        pairs = list(zip(requests, free, strict=True))
        assert [i for i in range(len(free)) if untouched(under, *pairs[i])] == expected
        results = under.run(requests, batch=8)
        assert [i for i in clean if results[i].tokens == free[i].tokens] == expected


def test_texts_that_the_loop_ended_or_that_were_drawn_are_written_again(written: Written) -> None:
    engine, requests, free = written
    under = engine.using(think=("budget:100",))
    pairs = [(request, result) for request, result in zip(requests, free, strict=True) if result.events]
    assert pairs, "this model ends some of its texts inside the thought"
    assert not any(untouched(under, request, result) for request, result in pairs)
    warm = [
        engine.request(tiny.begun("What is 1+1?"), limits=Limits(150), sampling=Sampling(0.5, seed=i)) for i in range(4)
    ]
    results = engine.run(warm)
    assert not any(untouched(under, request, result) for request, result in zip(warm, results, strict=True))


def test_both_kinds_keep_their_places(written: Written) -> None:
    """Answers under a setting are in the prompts' order, whichever were written again."""
    engine, requests, free = written
    items = [Item(f"q/{i}", "q", f"What is {i}+{i}?", "", None) for i in range(len(requests))]
    told: list[Any] = []
    asked = Asked(items, requests, lambda *said: told.append(said))
    assert asked.freely(engine) == [Answer.of(item, result) for item, result in zip(items, free, strict=True)]
    under = engine.using(think=("budget:24",))
    whole = [Answer.of(item, result) for item, result in zip(items, under.run(requests), strict=True)]
    expected = [
        free if same else now for same, free, now in zip(kept(written, "budget:24"), asked.free, whole, strict=True)
    ]
    assert asked.under(under, "budget", lambda answers: False) == expected
    assert len({answer.thinking for answer in expected}) > 10
    assert 0 < asked.reused == sum(kept(written, "budget:24")) < len(items)
    assert told == [("free thinking", 24, 24), ("budget", 24, 24)]


def test_asking_ends_where_it_is_enough(written: Written) -> None:
    engine, requests, _ = written
    many = [requests[i % 4] for i in range(CHUNK + 4)]
    items = [Item(f"q/{i}", "q", "?", "", None) for i in range(len(many))]
    asked = Asked(items, many, lambda *said: None)
    assert len(asked.freely(engine)) == CHUNK + 4
    assert len(asked.under(engine.using(think=("budget:9",)), "b", lambda answers: len(answers) > 5)) == CHUNK
