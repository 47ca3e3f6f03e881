"""Problems to train on, and others to be asked about."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from laconic.errors import RecipeError, TaskError
from laconic.training.run.data import problems
from tests.training.run.recipes import recipe


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_last_problems_of_a_file_are_held_out(checkpoint: Path, questions: Path) -> None:
    found = problems(recipe(checkpoint, questions))
    assert [item.question for item in found.held_out] == ["9 + 9?", "10 + 10?", "11 + 11?"]
    assert [item.question for item in found.training] == [f"{i} + {i}?" for i in range(9)]


def test_n_bounds_the_problems_and_another_source_may_be_held_out(
    checkpoint: Path, questions: Path, tmp_path: Path
) -> None:
    other = write(tmp_path / "other.jsonl", [{"question": "1 + 2?", "answer": "3"}])
    assert [item.question for item in problems(recipe(checkpoint, questions, n=2)).held_out][-1] == "11 + 11?"
    found = problems(recipe(checkpoint, questions, n=5, evaluation={"problems": str(other)}))
    assert len(found.training) == 5
    assert [item.question for item in found.held_out] == ["1 + 2?"]
    assert not problems(recipe(checkpoint, questions, evaluation={"n": 0})).held_out


def test_a_problem_is_not_both(checkpoint: Path, questions: Path) -> None:
    with pytest.raises(RecipeError, match="3 problems are trained on and held out, such as: '0 \\+ 0\\?'"):
        problems(recipe(checkpoint, questions, evaluation={"problems": str(questions)}))


def test_problems_without_answers_and_too_few_are_refused(checkpoint: Path, questions: Path, tmp_path: Path) -> None:
    bare = write(tmp_path / "bare.jsonl", [{"question": f"{i}?"} for i in range(9)])
    with pytest.raises(RecipeError, match=r"have no answers. A reward needs to know"):
        problems(recipe(checkpoint, bare))
    with pytest.raises(RecipeError, match="leaves 1 problems to train on, and a step has 2"):
        problems(recipe(checkpoint, questions, evaluation={"n": 11}))
    twice = write(tmp_path / "twice.jsonl", [{"question": "1 + 1?", "answer": a} for a in ("2", "3")] * 5)
    with pytest.raises(RecipeError, match=r"answers '1 \+ 1\?' with '2' and with '3'"):
        problems(recipe(checkpoint, twice, evaluation={"n": 0}))
    with pytest.raises(TaskError, match="cannot read"):
        problems(recipe(checkpoint, tmp_path / "none.jsonl"))


def test_bundled_kinds_are_trained_on_problems_that_are_never_held_out(checkpoint: Path) -> None:
    pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed (extra: train)")
    made = recipe(checkpoint, Path("gcd,lcm"), n=9, evaluation={"n": 6})
    found = problems(made)
    assert [len(found.training), len(found.held_out)] == [9, 6]
    assert {item.kind for item in found.training} == {"gcd", "lcm"}
    assert not {item.question for item in found.training} & {item.question for item in found.held_out}
    assert found.training[0].judge(f"So it is \\boxed{{{found.training[0].answer}}}.")
