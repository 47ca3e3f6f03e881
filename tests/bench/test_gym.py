"""Data sets of reasoning-gym: right answers of every form are right, junk is wrong, and every --n begins alike."""

from __future__ import annotations

import warnings

import pytest

from laconic.bench.tasks import GymTask, load
from laconic.errors import TaskError

pytest.importorskip("reasoning_gym")
# arc_agi's own data package leaves a file open.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")

SEVERAL_LINES = [
    "arc_agi", "binary_matrix", "futoshiki", "kakurasu", "mini_sudoku", "modulo_grid", "n_queens", "pool_matrix",
    "rearc", "rotate_matrix", "sudoku", "survo", "tower_of_hanoi",
]  # fmt: skip


@pytest.mark.parametrize("name", SEVERAL_LINES)
def test_answers_of_several_lines_are_read_as_a_whole(name: str) -> None:
    (item,) = GymTask(name).items(1, seed=1)
    lines = item.answer.splitlines()
    for reply in (
        f"The answer is:\n{item.answer}",
        f"So the answer is\n\n{item.answer}\n",
        f"I found it.\n\n```\n{item.answer}\n```\nThat is all.",
        f"I found it.\n\n{item.answer}",
        f"The solution is \\boxed{{{item.answer}}}.",
    ):
        assert item.judge(reply) is True, reply
    wrong = "\n".join(["junk"] * len(lines))
    assert item.judge(f"The answer is:\n{wrong}") is False
    assert item.judge("") is False


@pytest.mark.parametrize("name", ["prime_factorization", "coin_flip", "boxnet", "game_of_life"])
def test_a_verifier_that_raises_is_a_wrong_answer_and_named(name: str) -> None:
    (item,) = GymTask(name).items(1, seed=1)
    raised = []
    for junk in ("99", "banana", "1e999", "{}"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert item.judge_answer(junk) is False
        raised += [str(one.message) for one in caught]
    assert raised
    assert all(name in said and "counted as wrong" in said for said in raised)


@pytest.mark.parametrize(("name", "right"), [("game_of_life_halting", "False"), ("complex_arithmetic", None)])
def test_verifiers_that_pass_junk_are_named_and_not_believed(name: str, right: str | None) -> None:
    with pytest.warns(UserWarning, match=f"gym:{name}.*takes .* for right"):
        items = GymTask(name).items(8, seed=1)
    item = next(item for item in items if right in (None, item.answer))
    assert item.judge(f"The answer is {item.answer}.") is True
    for junk in ("nan", "banana", "?", "inf"):
        assert item.judge_answer(junk) is False


@pytest.mark.parametrize("name", ["acre", "list_functions", "letter_counting", "boxnet"])
def test_every_number_of_problems_begins_alike(name: str) -> None:
    few, many = GymTask(name).items(3, seed=1), GymTask(name).items(12, seed=1)
    assert few == many[:3]
    assert many != GymTask(name).items(12, seed=2)


def test_a_data_set_that_cannot_be_made_alone_is_refused() -> None:
    with pytest.raises(TaskError, match="composite"):
        load("gym:composite")[0].items(2, seed=0)
