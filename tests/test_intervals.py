import pytest

from laconic.intervals import wilson


def test_wilson_is_the_published_interval() -> None:
    low, high = wilson(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)  # Newcombe 1998, table I
    assert wilson(0, 0) == (0.0, 1.0)


def test_wilson_solves_its_own_equation():
    # The bounds are the shares p at which (share - p)^2 = z^2 p (1 - p) / n.
    for right, n in ((9, 10), (50, 210), (199, 210)):
        for bound in wilson(right, n):
            assert (right / n - bound) ** 2 == pytest.approx(1.959964**2 * bound * (1 - bound) / n, abs=1e-9)


def test_wilson_at_the_ends():
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(0, 20)
    assert low == 0.0
    assert 0.1 < high < 0.2
    assert wilson(20, 20)[1] == pytest.approx(1.0)


def test_all_and_none_are_ends_exactly() -> None:
    for n in range(1, 600):
        assert wilson(n, n)[1] == 1.0
        assert wilson(0, n)[0] == 0.0
