"""A grammar as a rule on logits: what it says depends on the place alone, and it lets answers end where they may."""

from __future__ import annotations

import json
import random

import pytest
import torch

from laconic import Request
from laconic.grammar import Grammar, choice, json_schema, lark, regex
from laconic.grammar.held import Held
from laconic.models.formats import Format
from laconic.models.text import Text
from laconic.thinking.base import Place
from laconic.transcript import Transcript
from tests import tiny

TEXT = tiny.text()
PLAIN = Text(tiny.tokenizer(), format="none")
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 5}, "n": {"type": "integer"}},
    "required": ["name", "n"],
    "additionalProperties": False,
}
GRAMMARS = {
    "json": (json_schema(SCHEMA, compact=True), ['{"name": "Bob", "n": 31}', '{"name": "", "n": -1}']),
    "spread": (json_schema(SCHEMA), ['{\n  "name": "x",\n  "n": 7\n}', '{"name":"x","n":7}']),
    "regex": (regex("[0-9]{2,4}(px|em)?"), ["12", "1234em"]),
    "choice": (choice(["yes", "no", "nobody"]), ["yes", "no", "nobody"]),
    "odd letters": (choice(['ä "b"\\\n', "🎉 ｜", "a\tb"]), ['ä "b"\\\n', "🎉 ｜", "a\tb"]),
    "lark": (lark('start: "(" start* ")"'), ["()", "(()(()))"]),
}


def transcript(text: Text, begun: str, phase: str | None = None) -> Transcript:
    prompt = text.encode("Hi ")
    made = Transcript(text, Request(tuple(prompt), phase=phase), list(prompt))
    for token in text.encode(begun):
        made.push(token)
    return made


def allowed(held: Held, place: Place, width: int = 264) -> set[str] | None:
    """The tokens that a rule leaves, as texts; None where it leaves all."""
    row = held(torch.zeros(width), place)
    return None if row is None else {TEXT.piece(token) for token in (row == 0).nonzero()[:, 0].tolist()}


@pytest.mark.parametrize("name", GRAMMARS)
@pytest.mark.parametrize("lead", ["", "\n\n", " \n"])
def test_every_word_of_the_grammar_can_be_written_and_ends_where_it_may(name: str, lead: str) -> None:
    grammar, words = GRAMMARS[name]
    for word in words:
        held, written = Held(grammar, TEXT), transcript(TEXT, "Hm.</think>", "thinking")
        for token in TEXT.encode(lead + word):
            assert TEXT.piece(token) in (allowed(held, written.place()) or ())
            written.push(token)
        assert "<|im_end|>" in (allowed(held, written.place()) or ())


@pytest.mark.parametrize(
    ("name", "begun", "expected"),
    [
        ("choice", "", {"y", "n", " ", "\n", "\t", "\r", "\n\n"}), ("choice", "no", {"b", "<|im_end|>"}),
        ("choice", "yes", {"<|im_end|>"}), ("choice", "nob", {"o"}), ("json", "{", {'"'}),
        ("json", '{"name": "Bob', None), ("json", '{"name": "Bob", "n": 3}', {"<|im_end|>"}),
        ("regex", "1", set("0123456789")), ("regex", "123", {*"0123456789pe", "<|im_end|>"}),
        ("lark", "(()", {"(", ")"}),
    ],
)  # fmt: skip
def test_nothing_else_can_be_written(name: str, begun: str, expected: set[str] | None) -> None:
    left = allowed(Held(GRAMMARS[name][0], TEXT), transcript(TEXT, f"</think>{begun}", "thinking").place())
    assert left is not None
    assert not left & {"<think>", "</think>", "<|im_start|>", "<|endoftext|>"}
    if expected is None:
        assert {"a", '"'} <= left
        assert not {"\n", "<|im_end|>"} & left
    else:
        assert left == expected


def test_an_answer_without_a_thought_begins_with_its_first_word() -> None:
    held = Held(GRAMMARS["choice"][0], PLAIN)
    assert allowed(held, transcript(PLAIN, "").place()) == {"y", "n"}


def test_a_thought_is_free_and_its_end_too() -> None:
    held = Held(GRAMMARS["choice"][0], TEXT)
    for begun, phase in (("", "thinking"), ("Hm. yes", "thinking"), ("<think>", "before"), ("<think>a", "before")):
        assert allowed(held, transcript(TEXT, begun, phase).place()) is None


def test_before_a_reply_has_begun_it_may_be_a_thought_or_the_answer() -> None:
    held = Held(GRAMMARS["choice"][0], TEXT)
    assert (allowed(held, transcript(TEXT, "", "before").place()) or set()) >= {"<think>", "y", "n"}
    assert allowed(held, transcript(TEXT, "y", "before").place()) == {"e"}
    text = Text(tiny.tokenizer(tags_as_tokens=False), format="think")
    held = Held(GRAMMARS["choice"][0], text)
    for begun, following in (("", "<"), ("<", "t"), ("<thi", "n"), ("<think", ">")):
        row = held(torch.zeros(264), transcript(text, begun, "before").place())
        assert row is not None
        assert row[text.encode(following)[0]] == 0
    assert int((row == 0).sum()) == 1
    assert held(torch.zeros(264), transcript(text, "<think>", "before").place()) is None


@pytest.mark.parametrize("seed", range(5))
def test_what_it_says_depends_on_the_place_alone(seed: int) -> None:
    """Places in any order, also such as the grammar does not allow, against a rule that has seen no other."""
    rng = random.Random(seed)
    held = Held(GRAMMARS["json"][0], TEXT)
    texts = [json.dumps({"name": "ab", "n": n}) for n in (1, 23)] + ['{"name": "x", 3', "[]", '{"name": "ab"} ']
    for _ in range(60):
        text = rng.choice(texts)
        place = transcript(TEXT, "</think>" + text[: rng.randrange(len(text) + 1)], "thinking").place()
        assert allowed(held, place) == allowed(Held(GRAMMARS["json"][0], TEXT), place)
    assert not held.failed


def test_logits_that_stay_are_the_models() -> None:
    row = torch.randn(300, generator=torch.Generator().manual_seed(0))  # wider than the tokenizer, as padded models are
    found = Held(GRAMMARS["choice"][0], TEXT)(row, transcript(TEXT, "</think>ye", "thinking").place())
    assert found is not None
    only = TEXT.encode("s")[0]
    assert found[only] == row[only]
    assert found.isfinite().sum() == 1


def test_what_must_come_is_known_as_far_as_there_is_no_choice() -> None:
    held = Held(GRAMMARS["json"][0], TEXT)

    def forced(begun: str, most: int = 99) -> str:
        return TEXT.decode(held.forced(transcript(TEXT, f"</think>{begun}", "thinking").place(), most))

    assert forced("") == ""
    assert forced("{") == '"name": "'
    assert forced("{", 3) == '"na'
    assert forced('{"name": "ab') == ""
    assert forced('{"name": "abcde') == '", "n": '
    assert not held.failed
    assert forced("[") == ""
    assert held.failed == "something was written that the grammar does not allow"


def test_headers_and_ends_of_answers_may_be_written() -> None:
    form = Format("<think>", "</think>", bridge="<response>", headers=("<response>",), answer_end="</response>")
    text = Text(tiny.tokenizer(), format=form)
    held, written = Held(GRAMMARS["choice"][0], text), transcript(text, "</think>", "thinking")
    for token in text.encode("<response>yes</response>"):
        assert text.piece(token) in (allowed(held, written.place()) or ())
        written.push(token)
    assert allowed(held, written.place()) == {"<|im_end|>"}


def test_a_grammar_that_becomes_too_complex_says_so() -> None:
    from laconic.grammar import GrammarLimits

    hard = Grammar("regex", "(a|b)*a(a|b){9}", GrammarLimits(step_lexer_fuel=1))
    held, written = Held(hard, PLAIN), transcript(PLAIN, "")
    for letter in "abba" * 20:
        held(torch.zeros(264), written.place())
        written.push(PLAIN.encode(letter)[0])
    assert "too complex" in held.failed
