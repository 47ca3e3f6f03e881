"""What counts as the same answer: text as text, numbers as numbers, formulas as formulas, and nothing by accident."""

from __future__ import annotations

import threading

import pytest

from laconic.answers import key, number
from laconic.equality import same

EQUAL = [
    ("42", "42.0"), ("0.5", "1/2"), (".5", "0.5"), ("1000", "1,000"), ("1000", r"1{,}000"), ("1000", r"1\,000"),
    ("1e3", "1000"), ("1.5E-2", "0.015"), (r"1.5 \times 10^{3}", "1500"), ("1.5 × 10^3", "1500"), ("10^3", "1000"),
    ("1 1/2", "3/2"), ("1½", "1.5"), (r"1\frac{1}{2}", "1.5"), ("-1 1/2", "-1.5"), ("−5", "-5"),
    (r"-\frac{1}{2}", "-0.5"),
    (r"\dfrac{1}{2}", "1/2"), (r"\frac12", "0.5"), ("0x10", "16"), ("0b101", "5"), ("$5", "5"), (r"\$5", "5"),
    ("12,", "12"),
    ("Paris", "paris"), ("a b", "ab"), ("dog", "dog."), ("dog", "**dog**"), ("dog", '"Dog"'), ("dog", r"\text{dog}"),
    ("yes", "Yes!"), ("B", "(B)"), ("B", "b."), ("B", r"\textbf{(B)}"), ("red, green", "Red,  green."), ("$7$", "7"),
    (r"\(7\)", "7"), ("naïve", "nai\u0308ve"), ("don’t", "don't"),
    ("10 cm", "10cm"), ("10 cm", r"10\text{ cm}"), ("10", "10 cm"), ("10", r"10\text{ m}"), ("12 hours", "12"),
    ("1 hour", "1 hours"), ("$5", "5 dollars"), ("90", r"90^\circ"), ("90°", r"90^{\circ}"),
    ("(1, 2)", "(1,2)"), ("(1, 2)", "(1.0, 2)"), (r"\{1, 2\}", r"\{2, 1\}"), ("{1,2}", r"\{1,2\}"), ("[1, 2]", "[1,2]"),
    ("['a', 'b']", '["a", "b"]'), (r"\left(1, 2\right)", "(1,2)"), ("1, 2", "1,2"), ("(1/2, 3)", r"(\frac{1}{2}, 3)"),
    ("x = 3", "3"), ("x=3", "X = 3"), ("2x", "2 x"),
]  # fmt: skip
DIFFERENT = [
    ("42", "43"), ("42", ""), ("", ""), ("42", "-42"), ("Paris", "London"),
    ("listen", "silent"), ("ABCD", "DCBA"), ("red, green", "green, red"), ("1 2 3", "6"), ("1 2 3", "123"),
    ("1 23", "12 3"),
    ("10 cm", "10 km"), ("10 cm", "11 cm"), ("1 1/2", "1"), ("1 1/2", "11/2"), ("(1,2)", "{1,2}"), ("(1,2)", "[1,2]"),
    ("(0,1]", "[0,1]"), ("(1,2)", "(2,1)"), ("1,2", "12"), ("1,2", "2,1"), ("1,2", "(1,2)"), ("1,2,3", "123"),
    ("(1,2)", "12"),
    ("0x10", "0"), ("0x10", "10"), ("1e3", "3"), ("1e3", "e13"), ("50%", "50"), ("pi", "ip"), ("no", "on"),
    ("now here", "nowhere"),
    ("10", "10 thousand"), ("10", "10 pm"), ("10 am", "10 pm"), ("10", "10 percent"), ("$5", "€5"), ("3 x", "3"),
    ("2x", "2y"),
    ("10 m/s", "10 s/m"), ("10 cm^2", "10 cm^3"), ("10 cm^2", "10 km^2"), ("x=3", "y=3"), ("x = 3", "4"),
    ("100_8", "100"), ("x'", "x"), ("2024-01-02", "2021"), ("3-4", "-1"), ("3-4", "5-6"), ("3:4", "0.75"),
    ("12:30", "1230"),
    ("red", "red, green"), ("(1,2)", "(1,2,3)"), ("{1,2}", "{1,2,3}"), ("B", "C"), ("(B)", "(C)"), ("5!", "5"),
    (r"\{1, 2\}", "1"), ("x²", "x2"), ("1/0", "0"), ("not safe", "safe"), ("x<3", "x>3"),
]  # fmt: skip
FORMULAS = [
    ("2x + 1", "1 + 2x", True), ("2x + 1", "2x + 2", False), (r"\sqrt{2}", "sqrt(2)", True), (r"\pi", "pi", True),
    ("x^2+2x+1", "(x+1)^2", True), ("x**2", "x^2", True), ("2^10", "1024", True), (r"\sin x", "sin(x)", True),
    ("6xy^2", "6y^2x", True), (r"[0,1] \cup [2,3]", r"[2,3] \cup [0,1]", True), (r"2\sqrt{3}", r"3\sqrt{2}", False),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}2\\1\end{pmatrix}", False), (r"\infty", r"-\infty", False),
    (r"(\sqrt{4}, 3)", "(2, 3)", True), (r"\frac{\pi}{2}", r"\frac{2}{\pi}", False), ("y = 2x + 1", "y = 1 + 2x", True),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal(one: str, other: str) -> None:
    assert same(one, other)
    assert same(other, one)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different(one: str, other: str) -> None:
    assert not same(one, other)
    assert not same(other, one)
    assert not one or same(one, one)


@pytest.mark.parametrize(("one", "other", "equal"), FORMULAS)
def test_formulas_are_left_to_math_verify(one: str, other: str, equal: bool) -> None:
    pytest.importorskip("math_verify")
    assert same(one, other) is equal
    assert same(other, one) is equal
    assert same(one, one)


def test_without_math_verify_formulas_are_equal_as_text_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "math_verify", None)
    assert same("2x + 1", "2x+1")
    assert not same("2x + 1", "1 + 2x")
    assert same(r"\frac{1}{2}", "0.5")


def test_numbers_without_end_are_text() -> None:
    runaway = "9" * 5000
    assert number(runaway) is None
    assert number("1e999999999") is None
    assert same(runaway, runaway)
    assert not same(runaway, runaway[1:])


def test_other_threads_compare_too() -> None:
    pytest.importorskip("math_verify")
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.extend((same("2x + 1", "1 + 2x"), same("2x", "3x + 1"))))
    thread.start()
    thread.join()
    assert found == [True, False]


def test_keys_tell_apart_what_same_tells_apart() -> None:
    assert key("1e3") == key("1,000")
    assert key("dog") == key("Dog.")
    assert len({key(text) for text in ("1 2 3", "123", "1,2,3", "12 3")}) == 4
