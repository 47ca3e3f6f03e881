"""Plans that cannot be carried out, and how models and weights are said."""

from __future__ import annotations

import pytest

from laconic.errors import RequestError
from laconic.training.merging import Aim, Plan, read_models, read_sweep

NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("method", "weights", "more", "message"),
    [
        ("tiez", (1.0,), {}, "no way to merge is called 'tiez'"),
        ("linear", (0.6, 0.3), {}, r"must sum to 1; 0\.6, 0\.3 sum to 0\.9"),
        ("slerp", (0.5, 0.6), {}, "must sum to 1"),
        ("slerp", (0.5, 0.25, 0.25), {}, "there are 3"),
        ("slerp", (1.5, -0.5), {}, "no negative weights"),
        ("ties", (1.0, -0.5), {}, "no negative weights"),
        ("ties", (0.0, 0.0), {}, "all weights are 0"),
        ("task-arithmetic", (), {}, "all weights are 0, or there are none"),
        ("task-arithmetic", (NAN, 1.0), {}, "finite"),
        ("dare", (INFINITE,), {}, "finite"),
        ("linear", (0.5, 0.5), {"density": 0.5}, "'linear' keeps all"),
        ("task-arithmetic", (0.5, 0.5), {"density": 0.5}, "'task-arithmetic' keeps all"),
        ("ties", (1.0,), {"density": 0.0}, "density of 0"),
        ("dare", (1.0,), {"density": 1.1}, r"density of 1\.1"),
        ("dare", (1.0,), {"density": NAN}, "density of nan"),
        ("lore", (0.5, 0.5), {"density": 0.5}, "'lore' keeps all"),
        ("ties", (1.0,), {"mu": 0.1}, "'ties' estimates no low rank"),
        ("linear", (0.5, 0.5), {"iterations": 3}, "'linear' estimates no low rank"),
        ("lore", (0.5, 0.5), {"mu": -0.1}, r"shrunk by -0\.1"),
        ("lore", (0.5, 0.5), {"mu": NAN}, "shrunk by nan"),
        ("lore", (0.5, 0.5), {"mu": INFINITE}, "shrunk by inf"),
        ("lore", (0.5, 0.5), {"iterations": 0}, "0 iterations"),
        ("lore", (0.7, 0.7), {}, "plain average"),
        ("lore", (1 / 3, 1 / 3, 1 / 3), {"mu": 2.0}, "plain average"),
        ("linear", (0.5, 0.5), {"aim": Aim("texts.txt")}, "'linear' has no base that AIM could hold to"),
        ("lore", (0.5, 0.5), {"aim": Aim("texts.txt")}, "'lore' has no base"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(method, weights, more, message) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        Plan(method, weights, **more)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"omega": 1.1}, r"omega of 1\.1"),
        ({"omega": -0.1}, r"omega of -0\.1"),
        ({"omega": NAN}, "omega of nan"),
        ({"tokens": 0}, "0 tokens"),
    ],
)
def test_a_step_that_cannot_be_is_refused(more, message) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        Aim("texts.txt", **more)
    assert caught.value.hint


def test_weights_of_what_is_no_interpolation_take_any_sum() -> None:
    Plan("task-arithmetic", (0.7, 0.7, -0.2))
    Plan("ties", (0.3, 0.3))
    Plan("dare", (1.0, 1.0))
    Plan("lore", (1.2, 0.7, -0.3), mu=0.0)
    Plan("linear", (1.25, -0.25))  # beyond the first, still summing to 1
    Plan("linear", (0.1, 0.2, 0.7))


def test_models_and_weights_as_they_are_said() -> None:
    assert read_models(["a:0.6", "org/b:0.4"]) == (("a", "org/b"), (0.6, 0.4))
    assert read_models(["a", "b", "c"]) == (("a", "b", "c"), (1 / 3, 1 / 3, 1 / 3))
    assert read_models(["x:y", "z"]) == (("x:y", "z"), (0.5, 0.5))  # a colon of the name's own
    Plan("linear", read_models(["m"] * 7)[1])


def test_points_of_a_sweep_are_decimal() -> None:
    assert [str(point) for point in read_sweep("0:0.3:0.1")] == ["0.0", "0.1", "0.2", "0.3"]
    assert [float(point) for point in read_sweep("1:-0.5:-0.75")] == [1.0, 0.25, -0.5]
    for said in ("", "0:1", "0:1:0", "0:1:2", "0:a:1", "0:1:-1", "0:inf:1", "0:1:1e-9", "nan:1:1"):
        with pytest.raises(RequestError, match="is no sweep") as caught:
            read_sweep(said)
        assert caught.value.hint


def test_weights_for_some_are_refused() -> None:
    with pytest.raises(RequestError, match="'b' has no weight"):
        read_models(["a:0.5", "b"])
