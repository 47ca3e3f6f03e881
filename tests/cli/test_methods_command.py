import json
from dataclasses import fields
from typing import Annotated, Literal

import pytest
from pydantic import Field

import laconic.methods
from laconic.cli.describe import knob_docs, type_name
from laconic.policy import FAMILIES, registry

assert laconic.methods

KEYS = ["family", "name", "summary", "paper", "catalogue", "arxiv", "lossless", "needs", "knobs"]


def test_json_is_complete(laconic):
    done = laconic("methods", "--json")
    assert done.exit_code == 0
    listed = json.loads(done.stdout)
    assert [(m["family"], m["name"]) for m in listed] == [(family, name) for family, name, _ in registry.all()]
    for method in listed:
        cls = registry.get(method["family"], method["name"])
        assert list(method) == KEYS
        assert method["summary"]
        assert method["paper"]
        assert [knob["name"] for knob in method["knobs"]] == [
            f.name for f in sorted(fields(cls), key=lambda f: f.kw_only)
        ]
        for knob in method["knobs"]:
            assert list(knob) == ["name", "type", "required", "default", "doc"]
            assert knob["doc"], f"{method['name']}.{knob['name']} says nothing about itself"
    budget = next(m for m in listed if m["name"] == "budget")
    assert budget["needs"] == ["thinking"]
    assert not budget["lossless"]
    assert budget["knobs"][0] == {
        "name": "tokens", "type": "int > 0", "required": True, "default": None,
        "doc": "Most thinking tokens, tags included.",
    }  # fmt: skip
    assert budget["knobs"][1]["default"] == 0.1
    assert budget["knobs"][1]["type"] == "float >= 0, <= 1"


def test_json_is_the_same_every_time(laconic):
    assert laconic("methods", "--json").stdout == laconic("methods", "--json").stdout


def test_list_names_every_method(laconic):
    shown = laconic("methods").stdout
    for _, name, _ in registry.all():
        assert name in shown


@pytest.mark.parametrize("family", FAMILIES)
def test_one_family(laconic, family):
    listed = json.loads(laconic("methods", "--json", "--family", family).stdout)
    assert {method["family"] for method in listed} == {family}


def test_unknown_family(laconic):
    done = laconic("methods", "--family", "drafters")
    assert done.exit_code == 2
    assert "Did you mean 'drafter'?" in done.stderr


def test_types_read_well():
    assert type_name(int) == "int"
    assert type_name(int | None) == "int or none"
    assert type_name(Literal["a", "b"]) == "a | b"
    assert type_name(Annotated[float, Field(gt=0, le=1)]) == "float > 0, <= 1"


class Sample:
    first: int = 1
    """What the first
    knob means."""
    second: int = 2

    def method(self) -> None:
        """Not a knob."""


def test_knob_docs_are_the_strings_below():
    assert knob_docs(Sample) == {"first": "What the first knob means."}


def test_one_method_with_what_its_knobs_mean(laconic):
    shown = " ".join(laconic("methods", "budget").stdout.split())
    assert "Most tokens of the answer, an end token included; none for no such limit." in shown
    assert "loop-break" not in shown
    assert [method["name"] for method in json.loads(laconic("methods", "settled", "--json").stdout)] == ["settled"]
    assert "Did you mean 'budget'?" in laconic("methods", "bugdet").stderr
