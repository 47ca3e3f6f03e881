"""What is said of a grammar is checked before anything is written; what is refused says why."""

from __future__ import annotations

from typing import Any

import pytest

from laconic import Engine
from laconic.errors import RequestError, UnmetNeed
from laconic.grammar import Grammar, GrammarLimits, choice, json_object, json_schema, lark, regex
from laconic.grammar.compiled import vocabulary
from laconic.models.text import Text
from tests import tiny
from tests.fakes import FakeModel

TEXT = tiny.text()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: json_schema("{"), "the JSON schema is no JSON"),
        (lambda: json_schema([1]), "a JSON schema is an object or a boolean, not a list"),  # type: ignore[arg-type]
        (lambda: json_schema({"enum": [object()]}), "holds what is no JSON"),
        (lambda: json_schema({"enum": [float("nan")]}), "holds what is no JSON"),
        (lambda: json_schema({"enum": ["x" * 90]}, limits=GrammarLimits(size=80)), "at most 80 are taken"),
        (lambda: regex(""), "the regular expression is empty"),
        (lambda: regex("a" * 81, limits=GrammarLimits(size=80)), "has 81 characters, at most 80"),
        (lambda: choice([]), "a choice is a list of texts that are not empty"),
        (lambda: choice("yes"), "a choice is a list of texts that are not empty"),
        (lambda: choice(["yes", ""]), "a choice is a list of texts that are not empty"),
        (lambda: lark(" \n"), "the grammar is empty"),
    ],
)
def test_what_is_no_grammar_is_refused_at_once(make: Any, words: str) -> None:
    with pytest.raises(RequestError) as refused:
        make()
    assert words in refused.value.message


@pytest.mark.parametrize(
    ("grammar", "words"),
    [
        (json_schema({"type": "objekt"}), "Invalid type: objekt"),
        (json_schema({"type": "object", "not": {}}), 'Unimplemented keys: ["not"]'),
        (json_schema(False), 'Unimplemented keys: ["not"]'),
        (json_schema({"$ref": "#/nowhere"}), "nowhere"),
        (regex("(a"), "unclosed group"),
        (regex("(?=a)b"), "look-around"),
        (lark("start: foo"), 'unknown name: "foo"'),
        (lark("no rules"), "cannot be used"),
        (json_schema({"type": "object"}, limits=GrammarLimits(grammar_size=3)), "too"),
    ],
)
def test_what_llguidance_refuses_is_told_in_its_words(grammar: Grammar, words: str) -> None:
    engine = Engine(FakeModel.random(0, vocab=264), TEXT)
    with pytest.raises(RequestError) as refused:
        engine.request("Hi", grammar=grammar)
    assert words in refused.value.message
    assert refused.value.hint


def test_a_grammar_is_read_once_for_a_tokenizer() -> None:
    words, seen = vocabulary(TEXT), []
    read = words._read
    words._read = lambda grammar: (seen.append(grammar), read(grammar))[1]  # type: ignore[method-assign]
    for _ in range(3):
        words.matcher(json_object())
        vocabulary(TEXT).matcher(json_schema('{"type": "object"}'))
    del words._read  # type: ignore[method-assign]
    assert len(seen) <= 1
    assert vocabulary(tiny.text()) is not words


def test_a_copy_of_a_matcher_leaves_the_others_alone() -> None:
    one, other = (vocabulary(TEXT).matcher(choice(["ab", "cd"])) for _ in range(2))
    assert one.consume_tokens(TEXT.encode("a"))
    assert other.consume_tokens(TEXT.encode("cd"))


def test_a_tokenizer_that_llguidance_cannot_read_is_an_unmet_need() -> None:
    class Slow:
        chat_template, eos_token_id, bos_token_id = None, 0, None

        def get_vocab(self) -> dict[str, int]:
            return {"<end>": 0}

        def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
            return [0]

    with pytest.raises(UnmetNeed, match="llguidance cannot read this tokenizer"):
        vocabulary(Text(Slow()))
