"""What harm is, prompt by prompt."""

from __future__ import annotations

import pytest

from laconic.bench.harm.judge import Answer, all_harmed, at_stake, harmed, kind_of
from laconic.bench.tasks import Item
from laconic.config import Kind
from laconic.errors import TaskError
from tests.bench.scripted import result

LOST: Kind = "right-answers-lost"
CHANGED: Kind = "answers-changed"


def answer(right: bool | None, final: str = "7") -> Answer:
    return Answer(right, final, 10, False)


@pytest.mark.parametrize(
    ("free", "now", "expected"),
    [
        (answer(True), answer(True), False),
        (answer(True), answer(False), True),
        (answer(True), answer(False, ""), True),
        (answer(False), answer(False), False),
        (answer(False), answer(True), False),
        (answer(True, "7"), answer(True, "7.0"), False),
    ],
)
def test_with_labels_harm_is_a_right_answer_lost(free: Answer, now: Answer, expected: bool) -> None:
    assert harmed(LOST, free, now) is expected
    assert at_stake(LOST, free) is bool(free.right)


@pytest.mark.parametrize(
    ("free", "now", "expected"),
    [
        ("7", "7.0", False), ("1,200", "\\$1200", False), ("7", "8", True), ("7", "", True), ("", "7", False),
        ("", "", False),
    ],
)  # fmt: skip
def test_without_labels_harm_is_another_answer_or_none(free: str, now: str, expected: bool) -> None:
    assert harmed(CHANGED, answer(None, free), answer(None, now)) is expected
    assert at_stake(CHANGED, answer(None, free)) is bool(free)


def test_those_not_asked_yet_are_not_counted() -> None:
    free = [answer(True), answer(True), answer(False), answer(True)]
    assert all_harmed(LOST, free, [answer(False), answer(True), answer(False)]) == [0]
    assert all_harmed(LOST, free, [answer(False)] * 4) == [0, 1, 3]


def test_an_answer_is_judged_by_its_problem() -> None:
    item = Item("q", "q", "37 + 48?", "85", lambda given: given == "85")
    assert Answer.of(item, result("85", 120)) == Answer(True, "85", 120, False)
    assert Answer.of(item, result("84", 50)) == Answer(False, "84", 50, False)


def test_kinds_do_not_mix() -> None:
    judged = Item("a", "q", "?", "7", lambda given: True)
    bare = Item("b", "q", "??", "", None)
    assert kind_of([judged]) == LOST
    assert kind_of([bare]) == CHANGED
    with pytest.raises(TaskError, match="1 of 2 problems"):
        kind_of([judged, bare])
