"""A call of a tool can be required: what the grammar lets a model write is what the reader of calls reads back."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
import torch

from laconic import Limits, Request
from laconic.errors import RequestError, UnmetNeed
from laconic.grammar import calling
from laconic.grammar.held import Held
from laconic.models.formats.called import parse
from laconic.models.text import Text
from laconic.transcript import Transcript
from tests.models.test_called import FAMILIES
from tests.models.test_called import written as reply
from tests.models.test_formats import tokenizer

SHAPES = (
    "json between tags", "a list", "a list, other keys", "names as keys", "line by line", "names in front", "a fence",
    "plain json",
)  # fmt: skip
WEATHER = {
    "type": "object",
    "properties": {"at": {"$ref": "#/$defs/place"}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["at", "days"],
    "additionalProperties": False,
    "$defs": {"place": {"enum": ["Paris", "Rome"]}},
}
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "additionalProperties": False}}},
]


def text_of(shape: str, *special: str) -> Text:
    return Text(tokenizer(FAMILIES[shape], *special))


def written(text: Text, held: Held, rng: random.Random, begun: str = "</think>") -> str:
    """A reply drawn from what the rule allows, the end as soon as it may come (or not, one time of three)."""
    prompt = text.encode("Hi")
    made = Transcript(text, Request(tuple(prompt), limits=Limits(500), phase="thinking"), list(prompt))
    for token in text.encode(begun):
        made.push(token)
    (end,) = text.eos
    while True:
        row = held(torch.zeros(len(text.tokenizer)), made.place())
        assert row is not None
        choices = (row == 0).nonzero()[:, 0].tolist()
        if end in choices and (len(choices) == 1 or rng.random() < 0.7):
            break
        made.push(rng.choice([token for token in choices if token != end]))
    return text.decode(made.tokens[len(prompt) + len(text.encode(begun)) :])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tokens", [False, True], ids=["tags in bytes", "tags are tokens"])
def test_what_can_be_written_is_read_back(shape: str, tokens: bool) -> None:
    special = text_of(shape).format.asides if tokens else ()
    text, rng = text_of(shape, *special), random.Random(shape)
    names = set()
    for _ in range(12):
        for name, several in (("", True), ("get_weather", False), ("now", False)):
            grammar = calling(text.format, TOOLS, name=name, several=several)
            reply = written(text, Held(grammar, text), rng)
            called = parse(reply, text.format, TOOLS)
            assert (called.content, called.broken) == ("", 0)
            assert len(called.calls) == 1 or (several and called.calls)
            for call in called.calls:
                names.add(call.name)
                assert name in ("", call.name)
                arguments = json.loads(call.arguments)
                if call.name == "get_weather":
                    assert arguments["at"] in ("Paris", "Rome")
                    assert 1 <= arguments["days"] <= 9
                else:
                    assert arguments == {}
    assert names == {"get_weather", "now"}


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "a list, other keys"])  # that writes ids too
@pytest.mark.parametrize("tokens", [False, True], ids=["tags in bytes", "tags are tokens"])
def test_a_call_as_the_template_writes_it_is_allowed(shape: str, tokens: bool) -> None:
    text = text_of(shape, *(text_of(shape).format.asides if tokens else ()))
    calls = [("get_weather", {"at": "Paris", "days": 3}), ("now", {})]
    for asked, several in ((calls[:1], False), (calls[1:], True), (calls, True)):
        held = Held(calling(text.format, TOOLS, several=several), text)
        made = Transcript(text, Request((1,), phase="thinking"), [1])
        for token in text.encode("</think>\n\n" + reply(FAMILIES[shape], *asked).lstrip()):
            if made.phase != "thinking":
                row = held(torch.zeros(len(text.tokenizer)), made.place())
                assert row is not None
                assert row[token] == 0, (text.decode(made.tokens[1:]), text.decode([token]))
            made.push(token)
        row = held(torch.zeros(len(text.tokenizer)), made.place())
        assert row is not None
        assert row[min(text.eos)] == 0


@pytest.mark.parametrize("shape", sorted(set(FAMILIES) - {*SHAPES}))
def test_other_families_are_an_unmet_need(shape: str) -> None:
    with pytest.raises(UnmetNeed, match="cannot be required of this model"):
        calling(text_of(shape).format, TOOLS)


def test_a_tool_that_is_not_there_is_refused() -> None:
    form = text_of("json between tags").format
    with pytest.raises(RequestError, match=r"there is no tool 'weather'.*Did you mean 'get_weather'"):
        calling(form, TOOLS, name="weather")
    with pytest.raises(RequestError, match="there are no tools to call"):
        calling(form, [])
