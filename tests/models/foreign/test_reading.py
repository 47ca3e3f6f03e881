"""Tokens of one vocabulary read in another: the same text, as the other tokenizer writes it."""

from __future__ import annotations

import itertools
import unicodedata
from typing import Any

import pytest

from laconic.models.foreign.reading import Reader, Reading
from laconic.models.foreign.shared import shared
from laconic.models.foreign.spelling import Spelling
from laconic.models.text import Text
from tests import tiny
from tests.foreign import PROSE, REAL, byte_level, real, sentence_piece

SMALL = {
    "bytes": lambda: Text(tiny.tokenizer()),
    "byte-level": byte_level,
    "sentencepiece": sentence_piece,
    "sentencepiece without a leading space": lambda: sentence_piece(leads=False),
}


def tokenizer(name: str) -> Any:
    return SMALL[name]().tokenizer if name in SMALL else real(name)


def spelled(spelling: Spelling, tokens: tuple[int, ...] | list[int]) -> bytes:
    return b"".join(spelling.of.get(token, b"") for token in tokens)


def read(reader: Reader, tokens: list[int], *, cut: bool = True) -> Reading:
    reading = reader.begun
    for token in tokens:
        reading = reader.extend(reading, (token,))
        reading = reader.cut(reading) if cut else reading
    return reading


@pytest.mark.parametrize("name", [*SMALL, *REAL])
def test_tokens_stand_for_the_bytes_of_the_text(name: str) -> None:
    made = tokenizer(name)
    spelling = Spelling(made)
    whole = spelled(spelling, made.encode(PROSE, add_special_tokens=False)).decode()
    assert whole.removeprefix(" ") == (unicodedata.normalize("NFC", PROSE) if name == "qwen3" else PROSE)
    for word, token in list(spelling.by_bytes.items())[::97]:
        assert spelling.of[token] == word
        assert token not in spelling.controls.values()


def test_a_byte_of_its_own_gives_way_to_a_token_of_text() -> None:
    spelling = Spelling(sentence_piece().tokenizer)
    letter = sentence_piece().tokenizer.get_vocab()["a"]
    assert spelling.by_bytes[b"a"] == letter
    assert spelling.bytes[ord("a")] == 3 + ord("a")
    assert spelling.by_bytes[b"\xc3"] == 3 + 0xC3


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [*itertools.permutations(SMALL, 2), *itertools.permutations(REAL, 2)],
)
def test_a_text_is_read_as_their_tokenizer_writes_it(ours: str, theirs: str) -> None:
    mine, other = tokenizer(ours), tokenizer(theirs)
    text = unicodedata.normalize("NFC", PROSE * 3)
    reader = Reader(Spelling(mine), Spelling(other))
    found = read(reader, mine.encode(text, add_special_tokens=False)).tail
    lead = " " if ours == "sentencepiece" else ""  # which stands in the tokens' own text
    expected = other.encode(lead + text, add_special_tokens=False)
    assert [*reader.begun.since, *expected] == list(found)


@pytest.mark.parametrize("theirs", [*SMALL, "gemma3", "llama3"])
def test_a_character_in_parts_is_read_as_its_bytes_until_it_is_whole(theirs: str) -> None:
    mine = tokenizer("bytes")
    other = Spelling(tokenizer(theirs))
    reader = Reader(Spelling(mine), other)
    robot = mine.encode("a 🤖", add_special_tokens=False)
    lead = spelled(other, list(reader.begun.since)) + (b" " if theirs == "sentencepiece" else b"")
    for upto in range(len(robot) + 1):
        assert spelled(other, read(reader, robot[:upto]).tail).removeprefix(lead) == "a 🤖".encode()[:upto]
    broken = [*robot[:4], *mine.encode("b", add_special_tokens=False)]
    assert spelled(other, read(reader, broken).tail).removeprefix(lead) == b"a \xf0\x9fb"


def test_a_word_in_parts_is_read_anew_as_it_grows() -> None:
    ours, theirs = Text(tiny.tokenizer()), byte_level()
    reader = Reader(Spelling(ours.tokenizer), Spelling(theirs.tokenizer))
    answer = theirs.encode("The answer")
    assert len(answer) == 2
    assert list(read(reader, ours.encode("The answer")).tail) == answer
    assert list(read(reader, ours.encode("The answ")).tail) == theirs.encode("The answ") != answer[:2]


def test_control_tokens_are_themselves_where_both_have_them_and_else_their_names() -> None:
    ours = byte_level(special=("<|end|>", "<|mine|>"))
    theirs = byte_level(300, special=("<|end|>", "<|other|>"))
    reader = Reader(Spelling(ours.tokenizer), Spelling(theirs.tokenizer))
    found = list(read(reader, ours.encode("so<|end|>it<|mine|>is")).tail)
    end = theirs.tokenizer.convert_tokens_to_ids("<|end|>")
    assert found == [*theirs.encode("so"), end, *theirs.encode("it<|mine|>is")]
    # The name of a control token of theirs that our text spells out is text.
    other = theirs.tokenizer.convert_tokens_to_ids("<|other|>")
    assert other not in read(reader, ours.encode("a <|other|> b")).tail
    # And nobody else who uses the tokenizer notices.
    assert other in theirs.tokenizer.backend_tokenizer.encode("a <|other|> b").ids


def test_tags_are_themselves_even_where_only_one_of_both_calls_them_special() -> None:
    ours, theirs = byte_level(tags=("<think>",)), byte_level(300, special=("<|end|>", "<think>"))
    pair = Spelling(ours.tokenizer), Spelling(theirs.tokenizer)
    think = theirs.tokenizer.convert_tokens_to_ids("<think>")
    mine = ours.encode("<think>\nso")
    assert read(Reader(*pair), mine).tail[0] == think
    assert (mine[0], think) in zip(*(ids.tolist() for ids in shared_of(ours, theirs)), strict=True)


def shared_of(ours: Text, theirs: Text) -> tuple[Any, Any]:
    found = shared(Spelling(ours.tokenizer), Spelling(theirs.tokenizer), (10**6, 10**6))
    return found.ours[: found.same], found.theirs[: found.same]


def test_what_begins_every_text_is_their_own() -> None:
    ours, theirs = sentence_piece(), sentence_piece()
    for text, name in ((ours, "<s>"), (theirs, "</s>")):
        from tokenizers.processors import TemplateProcessing

        token = text.tokenizer.convert_tokens_to_ids(name)
        text.tokenizer.bos_token = name
        text.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(f"{name} $A", None, [(name, token)])
    reader = Reader(Spelling(ours.tokenizer), Spelling(theirs.tokenizer))
    assert reader.begun.since == (2,)
    assert list(read(reader, [1, *ours.encode("What is")]).tail) == [2, *theirs.encode(" What is")]


@pytest.mark.parametrize("name", [*SMALL, *REAL])
def test_shared_tokens_stand_for_the_same(name: str) -> None:
    ours, theirs = byte_level().tokenizer, tokenizer(name)
    mine, other = Spelling(ours), Spelling(theirs)
    both = shared(mine, other, (len(ours), len(theirs)))
    assert both.same >= 60
    assert len(set(both.theirs.tolist())) == len(both.theirs)
    pairs = list(zip(both.ours.tolist(), both.theirs.tolist(), strict=True))
    for i, j in pairs[: both.same]:
        assert mine.of.get(i) == other.of.get(j)
        assert (i in mine.of) == (j in other.of)
    for i, j in pairs[both.same :]:
        assert other.of[j].startswith(mine.of[i])
    said = {j for _, j in pairs}
    assert said >= {
        j for j, word in other.of.items() if word and name != "qwen3"
    }  # every byte of theirs is one of ours


def test_only_tokens_that_both_models_have_room_for_are_shared() -> None:
    made = Spelling(byte_level().tokenizer)
    assert shared(made, made, (100, 50)).ours.tolist() == list(range(50))
    fewer = shared(made, made, (280, 330))
    assert fewer.same == 280
    assert max(fewer.ours.tolist()) < 280
