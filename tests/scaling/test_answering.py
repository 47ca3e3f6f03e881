"""Attempts under way, on the bundled model and on small ones: what is written, stopped, counted and given back."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from laconic import Engine, Limits, Methods, Sampling
from laconic.bench.tasks import draw
from laconic.bench.tasks import load as tasks
from laconic.errors import BrokenLogits, RequestError, UnmetNeed
from laconic.models.causal_lm import CausalLM
from laconic.models.formats.named import named
from laconic.models.text import Text
from laconic.scaling.answering import Answering
from laconic.scaling.base import Answered
from laconic.scaling.enough import Enough
from laconic.scaling.groups import alike, read
from laconic.thinking.exit.settled import Settled
from laconic.thinking.memory.base import seeded
from tests import tiny
from tests.scaling.boards import SPECS, VOTES

HARD = "What is 37 * 48 + 15?"
SAMPLING = Sampling(0.8, seed=3)
MUTE = Text(tiny.tokenizer(), format=named("none"))


@cache
def bundled() -> Engine:
    """The bundled model, drafting as it does for everybody."""
    return Engine.load("bundled")


def answer(scaling: str = "self-consistency", n: int = 4, **options: Any) -> Answered:
    given: dict[str, Any] = {"sampling": SAMPLING, "limits": Limits(900)} | options
    return bundled().answer(HARD, scaling=scaling, n=n, **given)


def slots(engine: Engine) -> int:
    target = engine.target
    assert isinstance(target, CausalLM)
    return len(target.host.pool.slots)  # type: ignore[union-attr]


def test_attempts_are_what_the_same_seeds_write_alone() -> None:
    found = answer()
    engine = bundled()
    for number, tried in enumerate(found.attempts):
        alone = engine.generate(HARD, sampling=seeded(SAMPLING, number), limits=Limits(900))
        assert tried.result.tokens == alone.tokens
        assert tried.result.usage.thinking == alone.usage.thinking
    assert len({tried.result.tokens for tried in found.attempts}) > 1


def test_what_is_said_of_an_answer() -> None:
    found = answer()
    assert found.answer == "1791"
    assert found.candidates[0].answer == "1791"
    assert found.confidence == len(found.candidates[0].numbers) / sum(len(c.numbers) for c in found.candidates)
    assert found.result is found.attempts[found.candidates[0].numbers[0]].result
    assert found.usage.generated == sum(tried.result.usage.generated for tried in found.attempts)
    assert found.reason == "all 4 attempts have ended"
    assert found.as_dict()["attempts"][0]["state"] == "done"
    assert slots(bundled()) == 0


def test_side_by_side_they_share_passes() -> None:
    engine = bundled().using(drafter="none", length="constant")  # what drafters learn would help the second run
    both = [
        engine.answer(HARD, scaling=scaling, n=4, sampling=SAMPLING, limits=Limits(900))
        for scaling in ("self-consistency", "self-consistency:abreast=1")
    ]
    found, one_by_one = both
    assert found.passes < 0.6 * found.usage.target_passes
    assert [t.result.tokens for t in one_by_one.attempts] == [t.result.tokens for t in found.attempts]
    assert one_by_one.passes > 1.5 * found.passes


def test_the_prompt_is_read_once() -> None:
    found = answer()
    prompt = found.attempts[0].result.usage.prompt
    assert [tried.result.usage.reused for tried in found.attempts] == [0, *[prompt - 1] * 3]
    assert found.usage.prefill_passes == 1


def test_the_standing_is_told_while_attempts_run() -> None:
    answering = bundled().answering(HARD, scaling="self-consistency", n=3, sampling=SAMPLING, limits=Limits(900))
    told = list(answering)
    assert told[0].running == 3
    assert told[-1].running == 0
    assert told[-1].answer == answering.result.answer
    assert [each.tokens for each in told] == sorted(each.tokens for each in told)


@pytest.mark.parametrize("name", sorted(set(VOTES) - {"enough", "deepconf", "sfs"}))
def test_whoever_stops_early_lets_the_others_be(name: str) -> None:
    spec = {**SPECS, "short-m": "short-m:m=1", "esc": "esc:window=2"}.get(name, name)
    found, whole = answer(spec), answer()
    for tried, full in zip(found.attempts, whole.attempts, strict=False):
        assert tried.result.tokens == full.result.tokens[: len(tried.result.tokens)]
        assert (tried.state == "done") == (tried.result.tokens == full.result.tokens)
    assert slots(bundled()) == 0


def test_who_is_stopped_has_a_reason() -> None:
    found = answer("short-m:m=1")
    stopped = [tried for tried in found.attempts if tried.state == "stopped"]
    assert len(stopped) == 3
    assert {tried.reason for tried in stopped} == {"1 attempts have ended"}
    assert {tried.result.finish_reason for tried in stopped} == {"cancelled"}
    shortest = min(len(tried.result.tokens) for tried in found.attempts if tried.state == "done")
    assert all(len(tried.result.tokens) < shortest + 30 for tried in stopped)


def test_deepconf_reads_alternatives() -> None:
    found = answer("deepconf:window=16")
    assert found.answer == "1791"
    assert all(candidate.weight > 1 for candidate in found.candidates)


class TestEnough:
    def test_one_attempt_is_settled(self) -> None:
        engine = bundled()
        settled = engine.using(think=("settled",))
        for seed in range(6):
            sampling = Sampling(0.8, seed=seed)
            alone = settled.generate(HARD, sampling=sampling, limits=Limits(900))
            found = engine.answer(HARD, n=1, sampling=sampling, limits=Limits(900))
            assert found.result.tokens == alone.tokens
            assert len(found.attempts) == 1

    def test_the_price_of_the_engines_own_settled_holds(self) -> None:
        found = answer("enough:price=0.5", n=1)
        dear = bundled().using(think=("settled:price=0.5",)).generate(HARD, sampling=SAMPLING, limits=Limits(900))
        assert found.result.tokens == dear.tokens

    def test_it_takes_less_than_a_vote(self) -> None:
        engine, written = Engine.load("bundled"), {"enough": 0, "self-consistency": 0}
        for item in draw(tasks(None), 6, 3):
            for scaling in written:
                found = engine.answer(item.question, scaling=scaling, n=8, sampling=SAMPLING, limits=Limits(900))
                written[scaling] += found.usage.generated
                assert found.result.finish_reason == "stop"
                assert alike(found.answer, read(found.result))
                assert 0 < found.confidence <= 1
        assert written["enough"] < 0.5 * written["self-consistency"]

    def test_other_controllers_stay(self) -> None:
        engine = bundled().using(think=("budget:12",))
        found = engine.answer(HARD, n=2, sampling=SAMPLING, limits=Limits(900))
        assert all(tried.result.usage.thinking <= 12 + 2 for tried in found.attempts)

    def test_a_model_that_does_not_think(self) -> None:
        engine = Engine(CausalLM(tiny.model(0)), MUTE, Methods())
        found = engine.answer("hello", n=3, sampling=Sampling(1.0), limits=Limits(12))
        assert 1 <= len(found.attempts) <= 3


class TestRefused:
    def test_no_attempts(self) -> None:
        with pytest.raises(RequestError, match=">= 1"):
            answer(n=0)

    def test_attempts_that_would_all_be_the_same(self) -> None:
        with pytest.raises(RequestError, match="all be the same"):
            answer(sampling=Sampling(0.0))
        assert len(answer("self-consistency", n=1, sampling=Sampling(0.0)).attempts) == 1

    def test_without_a_temperature_one_is_chosen_and_said(self) -> None:
        found = bundled().answer(HARD, scaling="self-consistency", n=2, limits=Limits(900))
        assert any("temperature 0.7" in event.reason for event in found.events)

    def test_policies_that_do_not_fit(self) -> None:
        with pytest.raises(RequestError, match="waits for 3"):
            answer("short-m", n=2)
        assert slots(bundled()) == 0


class TestEnds:
    def test_no_answer_in_any_attempt(self) -> None:
        found = answer(limits=Limits(5, answer_room=0))
        assert found.candidates == ()
        assert found.confidence == 0
        assert found.reason == "no answer could be read in any attempt"
        assert found.finish_reason == "length"

    def test_leaving_early_ends_all_attempts(self) -> None:
        answering = bundled().answering(HARD, scaling="self-consistency", n=3, sampling=SAMPLING)
        for standing in answering:
            assert standing.running == 3
            break
        answering.close()
        assert slots(bundled()) == 0
        found = answering.result
        assert {tried.state for tried in found.attempts} == {"stopped"}
        assert found.finish_reason == "cancelled"
        assert found.reason == "cancelled"
        assert found.asked == ()

    def test_a_result_that_is_asked_for_while_attempts_run_ends_them(self) -> None:
        answering = bundled().answering(HARD, scaling="enough", n=3, sampling=SAMPLING)
        next(iter(answering))
        assert answering.result.reason == "cancelled"
        assert slots(bundled()) == 0
        assert list(answering) == []

    def test_nothing_was_started(self) -> None:
        answering = bundled().answering(HARD, scaling="self-consistency", n=3, sampling=SAMPLING)
        answering.close()
        with pytest.raises(RequestError, match="no attempt"):
            _ = answering.result

    def test_a_pass_that_fails_leaves_no_attempt_running(self, monkeypatch: pytest.MonkeyPatch) -> None:
        engine = bundled()
        answering = engine.answering(HARD, scaling="self-consistency", n=3, sampling=SAMPLING)
        seen = iter(answering)
        next(seen)

        def broken(*_: Any) -> None:
            raise BrokenLogits("not finite")

        monkeypatch.setattr(type(engine.target), "score", broken)
        with pytest.raises(BrokenLogits):
            list(seen)
        assert slots(engine) == 0

    def test_a_prompt_that_does_not_fit(self) -> None:
        with pytest.raises(RequestError, match="context"):
            bundled().answer("1 " * 5000, n=2, sampling=SAMPLING)
        assert slots(bundled()) == 0


def test_policies_can_be_given_as_objects() -> None:
    engine = bundled()
    request = engine.request(HARD, sampling=SAMPLING, limits=Limits(900))
    answering = Answering(engine, request, Enough(abreast=1), 2)
    assert next(iter(answering)).running == 1
    answering.close()
    assert Enough(price=0.1).looking(Settled(every=2)) == Settled(price=0.1, every=2)


def test_needs_are_checked() -> None:
    class Needy(Enough):
        needs = Settled.needs
        name = "needy"

    engine = Engine(CausalLM(tiny.model(0)), MUTE, Methods())
    with pytest.raises(UnmetNeed, match="thinking phase"):
        engine.answer("hello", scaling=Needy(), n=1)
