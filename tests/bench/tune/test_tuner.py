"""The search on a small random model: what it tries, what it refuses to judge, and that drafting changes nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from laconic import Engine, Limits, Methods
from laconic.bench.provenance import provenance
from laconic.bench.tasks import Item
from laconic.bench.tune.page import render
from laconic.bench.tune.space import speculation, thinking
from laconic.bench.tune.tuner import Score, Tuner, _clearly_loses, as_methods
from laconic.errors import TaskError
from laconic.models.causal_lm import CausalLM
from laconic.models.text import Text
from tests import tiny
from tests.bench import pages

MODEL = tiny.model(1, bias=tiny.REASONER | {"</think>": 3.0})
TEXT = Text(
    tiny.tokenizer(
        template=tiny.TEMPLATE.replace("{% endif %}{% endif %}", "{% else %}<think>\n{% endif %}{% endif %}")
    )
)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(CausalLM(tiny.noisy(MODEL, 0.0)), TEXT, Methods(drafter="none"), CausalLM(tiny.noisy(MODEL, 0.1)))


def items(n: int, right: Any = None) -> list[Item]:
    return [Item(f"q/{i}", "q", f"What is {i} + 7?", "", right) for i in range(n)]


def test_the_space_holds_what_fits_and_only_that(engine: Engine) -> None:
    names = [candidate.name for candidate in speculation(engine)]
    assert names[0] == "plain"
    assert {"draft-model, svip", "suffix, aimd", "prompt-lookup, constant:8"} <= set(names)
    assert "suffix, svip" not in names, "svip looks at draft distributions"
    assert not any("specdec++" in name for name in names), "which goes by a head that must be named"
    assert any(name.endswith("best-first") for name in names)
    assert not any("prompt-lookup" in name and "best-first" in name for name in names)
    alone = speculation(Engine(engine.target, TEXT, Methods(drafter="none")))
    assert not any("draft-model" in candidate.name for candidate in alone)
    chosen = speculation(engine, ["suffix"], ["constant:3", "aimd"])
    assert [candidate.name for candidate in chosen] == ["plain", "suffix, constant:3", "suffix, aimd"]
    ways = thinking(Methods(drafter="suffix"), [10, 20, 30, 40])
    assert ways[0].methods.think == ()
    assert {way.methods.drafter for way in ways} == {"suffix"}
    assert ("budget:20",) in [way.methods.think for way in ways]


def test_without_labels_only_the_lossless_part_is_tuned(engine: Engine) -> None:
    record = Tuner(engine, items(5), limits=Limits(40)).run(
        ["prompt-lookup", "draft-model"], ["constant:2", "constant:6"]
    )
    assert record["thinking"] is None
    assert record["thinking_not_tuned"] == "no problem has an answer to judge by"
    rows = {row["name"]: row for row in record["speculation"]["candidates"]}
    assert len(rows) == 5
    assert all(row["identical"] == row["n"] > 0 for row in rows.values())
    assert rows["plain"]["n"] == 5
    assert rows["plain"]["time"] == 1
    assert rows[record["speculation"]["best"]]["n"] == 5
    assert record["speculation"]["cost"]["runs"] == sum(row["n"] for row in rows.values())
    assert as_methods(record["chosen"]).think == ()
    page = pages.whole(render(record | {"provenance": provenance()}))
    assert "no problem has an answer to judge by" in "".join(page.text)


def test_answers_that_are_all_wrong_say_nothing_about_thinking(engine: Engine) -> None:
    record = Tuner(engine, items(6, lambda given: False), limits=Limits(40)).run(["none"], ["constant:2"])
    assert "gets 0 of 6 problems right" in record["thinking_not_tuned"]
    assert record["speculation"]["best"] == "plain"


def test_thinking_is_cut_where_answers_stay_right(engine: Engine) -> None:
    record = Tuner(engine, items(8, lambda given: True), limits=Limits(80)).run(["none"], ["constant:2"])
    second = record["thinking"]
    rows = {row["name"]: row for row in second["candidates"]}
    assert rows["free thinking"]["lost"] == 0
    assert second["best"] in rows
    assert rows[second["best"]]["finished"]
    assert any(row["front"] for row in rows.values())
    shortest = min((row for row in rows.values() if row["accuracy"] == 1.0), key=lambda row: row["thinking_tokens"])
    assert shortest["front"]
    assert as_methods(record["chosen"]).think == tuple(rows[second["best"]]["think"])
    page = pages.whole(render(json.loads(json.dumps(record | {"provenance": provenance()}))))
    assert page.tags.count("svg") == 2
    text = "".join(page.text)
    assert second["best"] in text


def test_a_method_that_fails_is_out_and_named(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from laconic.speculation.drafters.prompt_lookup import PromptLookup

    def fail(*_: Any) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(PromptLookup, "propose", fail)
    record = Tuner(engine, items(4), limits=Limits(20)).run(["prompt-lookup"], ["constant:2"])
    assert record["failures"] == {"prompt-lookup, constant:2": "RuntimeError: out of luck"}
    assert record["speculation"]["best"] == "plain"


def test_losses_must_be_clear_to_drop_a_candidate() -> None:
    right = Score(1.0, 10, 10, True, ())
    wrong = replace(right, right=False)
    assert not _clearly_loses([wrong] * 3, [right] * 3)
    assert _clearly_loses([wrong] * 8, [right] * 8)
    assert not _clearly_loses([wrong] * 8 + [right] * 8, [right] * 8 + [wrong] * 8)


def test_nothing_to_tune_on(engine: Engine) -> None:
    with pytest.raises(TaskError, match="no problems"):
        Tuner(engine, [])
