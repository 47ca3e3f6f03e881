"""Spec strings, knobs and the registry."""

from __future__ import annotations

import pytest

import laconic.methods  # noqa: F401
from laconic.errors import InvalidKnob, LaconicError, MethodError, UnknownKnob, UnknownMethod
from laconic.policy import Registry, ordered, registry


def test_specs_round_trip() -> None:
    for family, spec in [
        ("length", "constant:tokens=7"),
        ("length", "svip:threshold=0.25"),
        ("drafter", "suffix:min_prob=0.2,fallback=[draft-model]"),
        ("think", "budget:tokens=64,landing=0.5"),
        ("drafter", "none"),
    ]:
        policy = registry.build(family, spec)  # type: ignore[arg-type]
        assert policy.spec() == spec
        assert registry.build(family, policy.spec()) == policy  # type: ignore[arg-type]


def test_first_knob_by_position() -> None:
    assert registry.build("think", "budget:64") == registry.build("think", "budget:tokens=64")


def test_policies_are_frozen_and_walk_their_knobs() -> None:
    suffix = registry.build("drafter", "suffix:fallback=[draft-model]")
    assert [policy.name for policy in suffix.walk()] == ["suffix", "draft-model"]
    with pytest.raises(AttributeError):
        suffix.min_prob = 1.0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("family", "spec", "error", "says"),
    [
        ("drafter", "sufix", UnknownMethod, "Did you mean 'suffix'"),
        ("length", "svip:treshold=0.3", UnknownKnob, "Did you mean 'threshold'"),
        ("length", "constant:3,4", UnknownKnob, "takes no value"),
        ("drafter", "none:x=1", UnknownKnob, "no knob 'x'"),
        ("length", "constant:none", InvalidKnob, "valid integer"),
        ("length", "constant:-1", InvalidKnob, "greater than or equal to 1"),
        ("length", "svip:nan", InvalidKnob, "finite"),
        ("think", "budget", InvalidKnob, "tokens"),
        ("think", "budget:0", InvalidKnob, "greater than 0"),
        ("think", "answer-confidence:1.5", InvalidKnob, "less than or equal to 1"),
        ("drafter", "suffix:fallback=[draft-model", InvalidKnob, "brackets"),
    ],
)
def test_bad_specs_say_what_is_wrong(family: str, spec: str, error: type[LaconicError], says: str) -> None:
    with pytest.raises(error, match=says.replace("[", r"\[")):
        registry.build(family, spec)  # type: ignore[arg-type]


def test_a_name_is_taken_once() -> None:
    mine = Registry()
    mine.register("length", "x", "a:B")
    mine.register("length", "x", "a:B")
    with pytest.raises(MethodError, match="already a:B"):
        mine.register("length", "x", "a:C")


@pytest.mark.parametrize(
    "spec", ["handbook:somewhere.md", "effort:low,lengths=somewhere.json", "cascade:hard=[spec-exit:head=somewhere]"]
)
def test_files_are_not_for_strangers_to_name(spec: str) -> None:
    with pytest.raises(InvalidKnob, match="names a file"):
        registry.build("think", spec, files=False)
    registry.build("think", "effort:low", files=False)


def test_every_knob_that_names_a_file_says_so() -> None:
    named = {"file", "head", "direction", "lengths", "probe", "folder", "path", "handbook", "keep", "datastore"}
    named |= {"learned", "model", "url", "router"}
    for family, name, cls in registry.all():
        knobs = {field.name for field in ordered(cls)}
        assert knobs & named == set(cls.files), f"{family} {name}"
