"""Calibration on a small random model: what is asked, what passes, what is chosen, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from laconic import Engine, Limits, Methods, Sampling
from laconic.bench.harm.aim import Aim
from laconic.bench.harm.asked import CHUNK
from laconic.bench.harm.families import sequence
from laconic.bench.harm.page import render
from laconic.bench.harm.run import Calibration
from laconic.bench.harm.sequence import at_most, passes, upper
from laconic.bench.harm.split import Split, fingerprint, split
from laconic.bench.provenance import provenance
from laconic.bench.tasks import Item
from laconic.config import PromiseTable
from laconic.errors import MethodError, RequestError, TaskError
from laconic.models.causal_lm import CausalLM
from laconic.models.text import Text
from laconic.policy import registry
from tests import tiny
from tests.bench import pages

TEXT = Text(
    tiny.tokenizer(
        template=tiny.TEMPLATE.replace("{% endif %}{% endif %}", "{% else %}<think>\n{% endif %}{% endif %}")
    )
)
AIM = Aim(0.15, 0.9)
LIMITS = Limits(120)
BUDGETS = "budget:100/90/60/30/3"


@pytest.fixture(scope="module")
def engine() -> Engine:
    target = CausalLM(tiny.model(3, bias=tiny.REASONER))
    return Engine(target, TEXT, Methods(drafter="prompt-lookup", length="constant:3"))


def items(n: int, grade: Callable[[str], bool] | None = None) -> list[Item]:
    return [Item(f"q/{i}", "q", f"What is {i} + 7?", "", grade) for i in range(n)]


def calibration(engine: Engine, parts: Split, family: str = BUDGETS, aim: Aim = AIM, **options: Any) -> Calibration:
    return Calibration(engine, parts, sequence(family, 120), aim, **{"limits": LIMITS, **options})


@pytest.fixture(scope="module")
def record(engine: Engine) -> dict[str, Any]:
    return calibration(engine, split(items(70))).run()


def test_settings_are_run_from_the_safest_until_one_fails(engine: Engine, record: dict[str, Any]) -> None:
    rows, parts = record["settings"], split(items(70))
    n = record["n"]
    assert (n, record["kind"]) == (len(parts.calibration), "answers-changed")
    asked = [row["think"] for row in rows] + record["not_tried"]
    assert asked == [setting.spec for setting in sequence(BUDGETS, 120)]
    assert [row["passed"] for row in rows] == [True] * (len(rows) - 1) + [False]
    assert len(rows) >= 3
    assert record["not_tried"], "this model changes most of its answers under the tightest budgets"
    for row in rows[:-1]:
        assert (row["n"], row["p_value"]) == (n, at_most(row["harms"], n, AIM.limit))
        assert row["upper_bound"] == upper(row["harms"], n, AIM.confidence) <= AIM.limit
    assert rows[-1]["harms"] > record["allowed"]
    assert rows[0]["harms"] == 0
    assert rows[0]["saved"] == 0, "a budget that no thought reaches spares nothing"


def test_counts_are_those_of_runs_of_their_own(engine: Engine, record: dict[str, Any]) -> None:
    """Harm and saving of the chosen setting, by running it once more in the plainest way."""
    parts = split(items(70))
    best = record["best"]
    plain, controlled = (
        [engine.using(think=think, drafter="none").generate(item.question, limits=LIMITS) for item in parts.calibration]
        for think in ((), (best,))
    )
    changed = [
        item.id
        for item, a, b in zip(parts.calibration, plain, controlled, strict=True)
        if item.read(a.answer) and item.read(a.answer) != item.read(b.answer)
    ]
    row = next(row for row in record["settings"] if row["think"] == best)
    spent, whole = (sum(result.usage.thinking for result in some) for some in (controlled, plain))
    assert row["harmed"] == changed
    assert row["thinking_tokens"] == spent / record["n"]
    assert row["saved"] == pytest.approx(1 - spent / whole)
    assert record["free"]["thinking_tokens"] == whole / record["n"]
    answered = [bool(item.read(a.answer)) for item, a in zip(parts.calibration, plain, strict=True)]
    assert record["free"]["at_stake"] == sum(answered)


def test_the_promise_is_of_what_saves_most_and_says_all_that_it_depends_on(
    engine: Engine, record: dict[str, Any]
) -> None:
    passed = [row for row in record["settings"] if row["passed"]]
    best = min(passed, key=lambda row: row["thinking_tokens"])
    promise = PromiseTable.model_validate(record["promise"])
    assert (record["best"],) == (best["think"],) == promise.think
    assert record["methods"]["think"] == [best["think"]]
    assert record["methods"]["drafter"] == "prompt-lookup"
    assert (promise.harms, promise.n, promise.harm, promise.confidence) == (best["harms"], record["n"], 0.15, 0.9)
    assert promise.upper_bound == best["upper_bound"]
    assert passes(promise.harms, promise.n, promise.harm, promise.confidence)
    assert promise.data == fingerprint(split(items(70)).calibration)
    assert isinstance(engine.target, CausalLM)
    assert (promise.model, promise.dtype, promise.max_tokens) == (engine.target.fingerprint(), "float32", 120)


def test_what_is_shown_is_measured_apart(record: dict[str, Any]) -> None:
    shown, parts = record["shown"], split(items(70))
    assert shown["n"] == len(parts.shown) == shown["free"]["n"]
    calibrated = {item.id for item in parts.calibration}
    assert not calibrated & set(shown["harmed"])
    assert shown["harm_ci"][0] <= shown["harms"] / shown["n"] <= shown["harm_ci"][1]
    assert not shown["failures"]


def test_a_setting_with_too_many_harms_is_asked_no_further(engine: Engine) -> None:
    many = split(items(2 * CHUNK + 60))
    found = calibration(engine, many, "budget:3").run()
    (row,) = found["settings"]
    assert row["n"] == CHUNK < found["n"]
    assert (row["p_value"], row["upper_bound"], row["passed"]) == (None, None, False)
    assert (found["promise"], found["shown"], found["best"], found["methods"]["think"]) == (None, None, None, [])
    assert "the safest setting, budget:tokens=3, harmed" in found["why_not"]
    assert "no number of prompts would do" in found["why_not"]
    text = "".join(pages.whole(render(json.loads(json.dumps(found | {"provenance": provenance()})))).text)
    assert "Nothing is promised, and thinking is left free" in text


def test_too_few_prompts_at_a_fair_rate_are_told_how_many_it_takes(engine: Engine) -> None:
    """Harm at a rate below the limit that so few prompts cannot prove: four of the answers are right only once."""
    parts = split(items(60))
    grades = [_once_right] * 4 + [lambda: lambda given: True] * (len(parts.calibration) - 4)
    flaky = [replace(item, grade=made()) for item, made in zip(parts.calibration, grades, strict=True)]
    found = calibration(engine, replace(parts, calibration=flaky, shown=[]), "budget:60").run()
    row = found["settings"][0]
    assert (row["harms"], found["kind"], row["passed"]) == (4, "right-answers-lost", False)
    assert (
        f"harmed 4 of {found['n']} prompts, where at most {found['allowed']} of {found['n']} may be" in found["why_not"]
    )
    assert "it takes about" in found["why_not"]


def _once_right() -> Callable[[str], bool]:
    verdicts = iter([True])
    return lambda given: next(verdicts, False)


def test_nothing_saved_is_nothing_promised(engine: Engine) -> None:
    found = calibration(engine, split(items(26)), "budget:110/100").run()
    assert all(row["passed"] for row in found["settings"])
    assert found["promise"] is None
    assert found["why_not"] == "the settings that pass spare no thinking"


def test_sampled_answers_are_paired_by_their_draws(engine: Engine) -> None:
    """A control that never acts changes no sampled answer, since both sides draw with the same numbers."""
    warm = Sampling(0.8, seed=5)
    found = calibration(engine, split(items(26)), "budget:100", sampling=warm)
    free = [request.sampling.seed for request in found.requests]
    assert len(set(free)) == len(free), "each prompt has draws of its own"
    assert free == [request.sampling.seed for request in calibration(engine, split(items(26)), sampling=warm).requests]
    record = found.run()
    assert record["settings"][0]["harms"] == 0
    assert record["settings"][0]["passed"]


def test_too_few_prompts_are_refused_before_anything_runs(engine: Engine) -> None:
    before = engine.target.passes
    with pytest.raises(
        TaskError, match=r"cannot promise harm below 0\.01 with confidence 0.95: it takes 299"
    ) as caught:
        calibration(engine, split([*items(90), *items(7)]), aim=Aim(0.01))
    assert "about 375" in caught.value.hint
    assert "7 more only repeat others" in caught.value.message
    assert engine.target.passes == before


def test_what_else_is_refused(engine: Engine) -> None:
    parts = split(items(60))
    for limit, confidence in ((0.0, 0.9), (1.0, 0.9), (0.1, 1.0), (0.1, 0.0)):
        with pytest.raises(RequestError, match="must be between 0 and 1"):
            Aim(limit, confidence)
    with pytest.raises(MethodError, match="does harm of its own"):
        calibration(engine.using(verifier="match:relax=[top-k]"), parts)
    with pytest.raises(RequestError, match="leaves no room"):
        calibration(engine, parts, "budget:500")
    never = replace(
        parts, calibration=[replace(item, grade=lambda given: False) for item in parts.calibration], shown=[]
    )
    with pytest.raises(TaskError, match="right on none of"):
        calibration(engine, never).run()


def test_a_model_that_does_not_think_has_nothing_to_spare(engine: Engine) -> None:
    class Silent(Calibration):
        def request(self, question: str) -> Any:
            return self.free.request(question, limits=self.limits, thinking=False)

    silent = Silent(engine, split(items(26)), sequence("budget:60", 120), AIM, limits=LIMITS)
    with pytest.raises(TaskError, match="did not think"):
        silent.run()


def test_the_page_tells_what_is_promised_and_what_was_seen(record: dict[str, Any]) -> None:
    page = pages.whole(render(json.loads(json.dumps(record | {"provenance": provenance()}))))
    text = "".join(page.text)
    assert page.tags.count("svg") == 1
    assert "fewer than 15 % of prompts like these are harmed" in text
    assert "On prompts kept apart" in text
    assert record["not_tried"][0] in text
    assert record["promise"]["data"] in text


def test_specs_are_kept_as_specs(engine: Engine) -> None:
    """Methods that were given as objects are recorded by the specs that rebuild them."""
    built = engine.using(drafter=registry.build("drafter", "prompt-lookup"))
    record = calibration(built, split(items(26)), "budget:100").run()
    assert record["methods"]["drafter"] == "prompt-lookup"
