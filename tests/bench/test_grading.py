from fractions import Fraction

import pytest

from laconic.bench.grading import extract, number, same


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"The answer is \boxed{42}.", "42"),
        (r"First \boxed{1}, no: \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{7} and then an open \boxed{8", "7"),
        ("The answer is 12.\nThe answer is: 13.\nBye", "13"),
        ("Answer: 5", "5"),
        ("I think\n\n  99  \n", "99"),
        ("", ""),
        (" \n ", ""),
        (r"\boxed{}", r"\boxed{}"),
    ],
)
def test_extract(text, answer):
    assert extract(text) == answer


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234.50", Fraction(2469, 2)), ("-7", Fraction(-7)), ("+7.", Fraction(7)), ("3/4", Fraction(3, 4)),
        ("$1,000", Fraction(1000)), ("50%", Fraction(1, 2)), ("12 apples", None), ("", None), ("1/0", None),
        ("x", None),
    ],
)  # fmt: skip
def test_number(text, value):
    assert number(text) == value


@pytest.mark.parametrize(
    ("right", "given", "equal"),
    [
        ("42", "42.0", True), ("42", "43", False), ("0.5", "1/2", True), ("1000", "1,000", True),
        ("Paris", "paris", True),
        ("Paris", "London", False), ("42", "", False), ("a b", "ab", True), ("42", "-42", False),
    ],
)  # fmt: skip
def test_same(right, given, equal):
    assert same(right, given) is equal


def test_math_verify_sees_equal_forms():
    pytest.importorskip("math_verify")
    assert same(r"\frac{1}{2}", "0.5")
    assert same("2x + 1", "1 + 2x")
    assert not same("2x + 1", "2x + 2")
