"""Bounds of a comparison: no schedule is cheaper than the oracle's, and shares are what they say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from laconic import Engine, Limits, Methods, Request, Result, Usage
from laconic.bench.measure import Trial
from laconic.bench.oracle import bounds
from laconic.bench.oracle.length import Costs
from laconic.bench.tasks import Item
from laconic.models.causal_lm import CausalLM
from tests import tiny

TEXT = tiny.text()
MODEL = tiny.model(5, bias={"}": 3.0}, sharpness=4.0)
LIMITS = Limits(50)


def ask(question: str) -> Request:
    return Request(tuple(TEXT.encode(question)), limits=LIMITS)


def item(question: str, grade: Callable[[str], bool]) -> Item:
    return Item(question, "x", question, "", grade)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(
        CausalLM(tiny.noisy(MODEL, 0.0)),
        TEXT,
        Methods(drafter="draft-model", length="constant:4"),
        CausalLM(tiny.noisy(MODEL, 0.05)),
    )


def runs(engine: Engine, **methods: Any) -> list[Trial]:
    trials = []
    for at, question in enumerate(("Hello there!", "What is 1+1?", "Count: 1, 2, 3")):
        trial = Trial(item(question, lambda given: False), at)
        for name, made in (("plain", engine.using(drafter="none")), ("ours", engine.using(**methods))):
            trial.results[name] = made.run([ask(question)])[0]
        trials.append(trial)
    return trials


@pytest.mark.parametrize("drafter", ["draft-model", "prompt-lookup"])
def test_no_length_is_cheaper_than_the_oracles(engine: Engine, drafter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "_costs", lambda *_: Costs(2.0, 0.1, 0.2))
    using = engine.using(drafter=drafter)
    trials = runs(using)
    found = bounds.length(using, trials, ask, "ours", "plain")
    assert found is not None
    time = found["time"]
    assert time["plain"] == sum(len(trial.results["plain"].tokens) for trial in trials)
    cut = 10 * 0.15 * len(trials)  # the engine drafts no further than a request's limit, which the oracle does not know
    assert 0 < time["oracle"] <= time["best_fixed"] <= min(time["ours"] + cut, time["plain"])
    usages = [trial.results["ours"].usage for trial in trials]
    spent = sum(usage.target_passes + 0.15 * usage.drafted for usage in usages)
    assert time["ours"] == pytest.approx(spent)
    assert found["tokens_per_pass"]["oracle"] >= 1
    saved = (time["plain"] - time["ours"]) / (time["plain"] - time["oracle"])
    assert found["share"] == pytest.approx(saved)


def test_costs_are_those_of_the_run() -> None:
    plain, ours = (
        Usage(target_passes=100, seconds={"score": 2.0, "draft": 0.0}),
        Usage(target_passes=20, drafted=80, seconds={"score": 0.8, "draft": 0.4}),
    )
    trials = [Trial(item("", bool), 0, {"plain": holding(plain), "ours": holding(ours)})] * 2
    costs = bounds._costs(trials, "ours", "plain")
    assert costs is not None
    assert (costs.target, costs.node, costs.draft) == pytest.approx((0.02, 0.005, 0.005))
    ours.drafted = 0
    assert bounds._costs(trials, "ours", "plain") is None


def holding(usage: Usage) -> Result:
    return Result("", "", "", (), "stop", usage)


def test_a_bound_that_is_not_defined_is_none(engine: Engine) -> None:
    assert bounds.length(engine, runs(engine, drafter="none"), ask, "ours", "plain") is None
    hybrid = engine.using(drafter="suffix:fallback=[draft-model]")
    assert bounds.length(hybrid, runs(hybrid), ask, "ours", "plain") is None
    cut = Trial(item("Hello", bool), 0, {"free": result("<think>\nOne."), "ours": result("<think>\nOne.")})
    assert bounds.thought(engine, [cut], ask, "ours", "free") is None


def result(text: str) -> Result:
    tokens = TEXT.encode(text)
    thinking = len(TEXT.encode(text.partition("</think>")[0])) + ("</think>" in text)
    return Result(text, "", "", tuple(tokens), "stop", Usage(thinking=thinking))


def test_the_share_of_a_thought_that_was_spared(engine: Engine) -> None:
    steps = ["<think>\nOne and one.", "That makes two.", "Wait, three?", "No: two.\n</think>\n\nTwo."]
    whole, cut = result("\n\n".join(steps)), result("\n\n".join((*steps[:2], "</think>\n\nTwo.")))
    seen: list[str] = []
    bounds.thought(engine, [trial(whole, cut, lambda given: bool(seen.append(given)))], ask, "ours", "free")
    assert len(seen) == 4, seen
    asked: list[str] = []  # the random model says the same at every place, so the second time counts as right
    right = lambda given: bool(asked.append(given)) or len(asked) == 2  # noqa: E731
    found = bounds.thought(engine, [trial(whole, cut, right)], ask, "ours", "free")
    assert found is not None
    tokens = found["thinking_tokens"]
    assert tokens["oracle"] == len(TEXT.encode("\n\n".join(steps[:2]) + "\n\n"))
    assert tokens["free"] == whole.usage.thinking > tokens["ours"] == cut.usage.thinking > tokens["oracle"]
    assert found["share"] == pytest.approx((tokens["free"] - tokens["ours"]) / (tokens["free"] - tokens["oracle"]))
    assert (found["n"], found["accuracy"], found["endings"]) == (1, 1.0, 4)
    never = bounds.thought(engine, [trial(whole, cut, lambda given: False)], ask, "ours", "free")
    assert never is not None
    assert never["share"] is None
    assert never["thinking_tokens"]["oracle"] == whole.usage.thinking
    assert never["bisection"]["n"] == 0


def trial(free: Result, ours: Result, grade: Callable[[str], bool]) -> Trial:
    return Trial(item("What is 1+1?", grade), 0, {"free": free, "ours": ours})
