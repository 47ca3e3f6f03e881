"""The handbook: its file, its retrieval, and its place in the prompt."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest

from laconic import Engine, Limits, Methods
from laconic.errors import HandbookError, InvalidKnob
from laconic.models.causal_lm import CausalLM
from laconic.policy import registry
from laconic.thinking.memory.behaviors import INTRO
from laconic.thinking.memory.handbook import Behavior, Handbook, parse
from laconic.thinking.memory.ranking import Ranking
from tests import tiny

SHELF = Handbook(
    [
        Behavior("carry-first", "Note the carry of each column\nbefore adding the next one: a + b.", ("addition",)),
        Behavior("euclid", "For the greatest common divisor take remainders.", ("divisors", "numbers")),
        Behavior("substitute", "Solve an equation, then put the value back in."),
    ]
)
TARGET = CausalLM(tiny.model(3, bias=tiny.REASONER))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    SHELF.save(tmp_path / "book.md")
    return tmp_path / "book.md"


def test_a_file_holds_what_was_saved(file: Path) -> None:
    assert Handbook.load(file).behaviors == SHELF.behaviors
    assert file.read_text().startswith("## carry-first\ntopics: addition\nNote the carry")
    assert os.listdir(file.parent) == ["book.md"], "nothing is left beside it"


def test_a_file_that_a_person_wrote_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.md"
    path.write_bytes(
        "\ufeff# My notes\r\n\r\n##  two   words \r\n\r\nTopics: A , b,\r\n\r\nDo it.  \r\n\r\n### part\r\n".encode()
    )
    (behavior,) = Handbook.load(path).behaviors
    assert behavior == Behavior("two words", "Do it.\n\n### part", ("A", "b"))
    Handbook([behavior]).save(path)
    assert Handbook.load(path).behaviors == (behavior,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no behaviour"),
        ("just text\n", "line 1: text before the first heading"),
        ("# title\n\nsome text\n## a\nDo.", "line 3: text before the first heading"),
        ("## a\nDo.\n\n## b\nDo.\n## a\nDo.", "line 6: 'a' is already the name of line 1"),
        ("## a\n\n\n## b\nDo.", "line 1: behaviour 'a' has no instruction"),
        ("## a\nDo.\n## b\ntopics: x\n", "line 3: behaviour 'b' has no instruction"),
        ("## a\nDo.\n##   \nDo.", "line 3: '' is no name"),
        ("## a\nDo.\n# b\nDo.", "line 1: the instruction of 'a' could not be read back"),
        (b"## a\nDo.\n## b\nf\xfcnf", "line 4: not UTF-8"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "broken.md"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(HandbookError, match=message) as caught:
        Handbook.load(path)
    assert "broken.md" in str(caught.value)
    assert caught.value.hint


def test_a_missing_file_and_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(HandbookError, match=r"cannot read .*none\.md"):
        Handbook.load(tmp_path / "none.md")
    with pytest.raises(HandbookError, match="cannot write"):
        SHELF.save(tmp_path / "no" / "book.md")


def test_adding_leaves_the_old_one_and_refuses_a_taken_name() -> None:
    more = SHELF.add(Behavior("new", "Do."))
    assert [len(more.behaviors), len(SHELF.behaviors)] == [4, 3]
    with pytest.raises(HandbookError, match="two behaviours are called 'new'"):
        more.add(Behavior("new", "Do otherwise."))


@pytest.mark.parametrize(
    "bad",
    [("", "Do."), (" a", "Do."), ("a\nb", "Do."), ("a", " "), ("a", "Do.\n## b"), ("a", "topics: x\nDo.")],
)
def test_what_a_file_could_not_hold_is_no_behaviour(bad: tuple[str, str]) -> None:
    with pytest.raises(HandbookError):
        Behavior(*bad)
    with pytest.raises(HandbookError):
        Behavior("a", "Do.", ("x, y",))


class TestRetrieval:
    def test_the_likest_come_first_and_strangers_not_at_all(self) -> None:
        def names(problem: str, k: int = 3, **given: Any) -> list[str]:
            return [behavior.name for behavior in SHELF.retrieve(problem, k, **given)]

        assert names("Find the greatest common divisors of 12 and 18") == ["euclid"]
        assert names("Solve the equation 3*x + 4 = 10") == ["substitute", "carry-first"]
        assert names("Solve the equation 3*x + 4 = 10", 1) == ["substitute"]
        assert names("What is 12 + 30?") == ["carry-first"]
        assert names("Wie viel?") == []
        assert names("Solve the equation 3*x + 4 = 10", topics=["Divisors"]) == ["substitute"]

    def test_scores_are_those_of_the_formula(self) -> None:
        """Two texts of lengths 2 and 4, mean 3; 'carry' is in one of them, twice."""
        weight = math.log(1 + 1.5 / 1.5)
        expected = weight * 2 * 2.5 / (2 + 1.5 * (0.25 + 0.75 * 4 / 3))
        assert Ranking(["no match", "carry every carry now"]).scores("Carry?") == [0.0, pytest.approx(expected)]

    def test_an_empty_handbook_has_nothing(self) -> None:
        assert Handbook().retrieve("anything", 3) == []


def asked(spec: str, question: str = "Solve the equation 3*x + 4 = 10") -> tuple[str, tuple[Any, ...]]:
    """The prompt that the model is given, and the events."""
    engine = Engine(TARGET, tiny.text(), Methods(think=(spec,)))
    request = engine.fitted(engine.request(question))
    return engine.text.decode(request.prompt), request.events


def test_behaviours_stand_below_the_question(file: Path) -> None:
    prompt, (event,) = asked(f"handbook:{file},k=2")
    assert (
        prompt.index("3*x")
        < prompt.index(INTRO)
        < prompt.index("substitute: Solve")
        < prompt.index("carry-first: Note")
    )
    assert (event.method, event.action, event.reason) == ("handbook", "prepare", "behaviours substitute, carry-first")
    prompt, _ = asked(f"handbook:{file},k=1,role=system")
    assert prompt.index(INTRO) < prompt.index("3*x")
    assert "carry-first" not in prompt
    plain = Engine(TARGET, tiny.text(), Methods()).request("Wie viel?").prompt
    prompt, events = asked(f"handbook:{file}", "Wie viel?")
    assert prompt == tiny.text().decode(plain)
    assert not events


def test_topics_of_a_spec_narrow_the_choice(file: Path) -> None:
    prompt, _ = asked(f"handbook:{file},topics=divisors/legs")
    assert "substitute:" in prompt
    assert "carry-first:" not in prompt


def test_a_run_with_a_handbook_is_a_run_with_that_prompt(file: Path) -> None:
    engine = Engine(TARGET, tiny.text(), Methods(think=(f"handbook:{file}",)))
    prompt, _ = asked(f"handbook:{file}")
    result = engine.generate("Solve the equation 3*x + 4 = 10", limits=Limits(20))
    assert result.usage.prompt == len(engine.text.encode(prompt))
    assert [event.method for event in result.events][:1] == ["handbook"]


def test_the_file_is_read_again_when_it_has_changed(file: Path) -> None:
    engine = Engine(TARGET, tiny.text(), Methods(think=(f"handbook:{file}",)))
    Handbook([Behavior("newer", "An equation has a solution.")]).save(file)
    request = engine.fitted(engine.request("Solve the equation"))
    assert "newer:" in engine.text.decode(request.prompt)
    assert "substitute:" not in engine.text.decode(request.prompt)


def test_a_handbook_that_cannot_be_read_is_an_error_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(HandbookError, match="cannot read"):
        Engine(TARGET, tiny.text(), Methods(think=(f"handbook:{tmp_path}/none.md",)))
    for spec in ("handbook", "handbook:", "handbook:a.md,k=0"):
        with pytest.raises(InvalidKnob):
            registry.build("think", spec)


def test_every_text_is_either_refused_or_read_back() -> None:
    for text in ("## a\n\n\tindented\n   more", "## a\nx\n\n\ny", "## a: b\nDo: it, now", "## ü\n∑", "##  ##\nDo."):
        book = parse(text, "t")
        again = parse("\n".join(behavior.markdown for behavior in book.behaviors), "t")
        assert again.behaviors == book.behaviors
