"""Families are told apart from other methods, and their settings come safest first."""

from __future__ import annotations

import pytest

from laconic.bench.harm.families import FAMILIES, lengths, sequence
from laconic.errors import InvalidKnob, MethodError, UnknownKnob, UnknownMethod
from laconic.policy import ordered, registry


def specs(family: str, most: int = 2048) -> list[str]:
    return [setting.spec for setting in sequence(family, most)]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_a_knob_of_a_method_and_its_grid_can_be_built(name: str) -> None:
    family = FAMILIES[name]
    assert family.knob in [knob.name for knob in ordered(registry.get("think", name))]
    if name == "spec-exit":  # needs a head, which must be named
        with pytest.raises(MethodError, match="head"):
            sequence(name, 2048)
        return
    settings = sequence(name, 2048)
    assert len(settings) >= 5
    values = [getattr(registry.build("think", setting.spec), family.knob) for setting in settings]
    assert values == sorted(set(values), reverse=family.smaller)
    assert [float(setting.label.removeprefix(f"{family.knob}=")) for setting in settings] == values


def test_values_may_be_named_in_any_order() -> None:
    assert specs("settled:price=0.01/0.002/0.01,numbers=false") == [
        "settled:price=0.002,numbers=False", "settled:price=0.01,numbers=False",
    ]  # fmt: skip
    assert specs("budget:64/512/128,landing=0.5") == [
        "budget:tokens=512,landing=0.5", "budget:tokens=128,landing=0.5", "budget:tokens=64,landing=0.5",
    ]  # fmt: skip
    assert specs("answer-confidence:0.9/0.99,product") == [
        "answer-confidence:threshold=0.99,aggregate=product", "answer-confidence:threshold=0.9,aggregate=product",
    ]  # fmt: skip
    assert specs("settled:0.004") == ["settled:price=0.004"]
    assert [setting.label for setting in sequence("settled:0.010/0.0065", 99)] == ["price=0.0065", "price=0.010"]


def test_budgets_go_by_the_limit_and_not_by_what_was_seen() -> None:
    assert lengths(512) == (256, 181, 128, 91, 64, 45, 32)
    assert specs("budget", 256) == [f"budget:tokens={tokens}" for tokens in (128, 91, 64, 45, 32)]


@pytest.mark.parametrize(
    ("spec", "error", "message", "hint"),
    [
        ("setled", UnknownMethod, "no think is called 'setled'", "'settled'"),
        ("no-wait", UnknownMethod, "'no-wait' is no nested family", "settled"),
        ("settled:prise=0.1", UnknownKnob, "'prise'", "'price'"),
        ("settled:0.1,true,1,2,3,4,5", UnknownKnob, "takes no value", ""),
        ("settled:cheap/dear", InvalidKnob, "'cheap' is no number", "Part them with '/'"),
        ("settled:0.1/-1", InvalidKnob, "'price'", ""),
        ("budget:64/3.5", InvalidKnob, "'tokens'", ""),
    ],
)
def test_what_is_no_family_is_refused(spec: str, error: type[MethodError], message: str, hint: str) -> None:
    with pytest.raises(error) as caught:
        sequence(spec, 2048)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_the_shortest_limit_of_all_leaves_no_budget() -> None:
    with pytest.raises(InvalidKnob, match="no setting"):
        sequence("budget", 40)
