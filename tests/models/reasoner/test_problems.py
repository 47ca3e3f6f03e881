"""Problems come from reasoning-gym, are judged by it, and are held out by content."""

import pytest

pytest.importorskip("reasoning_gym")

from laconic.models.reasoner.problems import KINDS, linear, problems, score, stream


@pytest.mark.parametrize("kind", KINDS)
def test_held_out_and_training_never_share_a_question(kind: str) -> None:
    rule = KINDS[kind]
    evaluation = {rule.key(p.entry) for p in problems(kind, 60, seed=1, held_out=True)}
    training = {rule.key(p.entry) for p, _ in zip(stream(kind, 2, held_out=False), range(2000), strict=False)}
    assert not evaluation & training


@pytest.mark.parametrize("kind", KINDS)
def test_the_right_answer_scores_and_another_does_not(kind: str) -> None:
    for problem in problems(kind, 20, seed=3):
        assert score(problem, problem.answer)
        assert not score(problem, str(int(problem.answer) + 1))
        assert not score(problem, "")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_easy_and_hard_problems(kind: str) -> None:
    found = [problem.difficulty for problem in problems(kind, 150, seed=4)]
    assert {1, 2, 3} == set(found)
    assert min(found.count(level) for level in (1, 2, 3)) >= 5


def test_the_same_seed_gives_the_same_problems() -> None:
    assert problems("gcd", 10, seed=5) == problems("gcd", 10, seed=5)
    assert problems("gcd", 10, seed=5) != problems("gcd", 10, seed=6)


def test_an_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"sudoku.*basic_arithmetic"):
        problems("sudoku", 1, seed=0)


@pytest.mark.parametrize(
    ("equation", "parts"),
    [
        ("8*q - 3 = 165", (8, -3, 165)), ("4 - 21*k = -38", (-21, 4, -38)), ("x + 3 = 8", (1, 3, 8)),
        ("-x - 3 = -8", (-1, -3, -8)), ("5*z = 40", (5, 0, 40)), ("x*y = 3", None),
    ],
)  # fmt: skip
def test_linear_equations_are_read(equation: str, parts: tuple[int, int, int] | None) -> None:
    assert linear({"metadata": {"equation": equation}}) == parts
