"""Each way to merge a tensor: an example by hand, a twin that is slow and obvious, and what must hold exactly."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from laconic.training.merging import Plan
from laconic.training.merging.arithmetic import dare, drop, linear, slerp, task_arithmetic, ties, trim
from laconic.training.merging.plan import METHODS


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def some(count: int, shape: tuple[int, ...] = (5, 7)) -> list[Tensor]:
    made = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=made) for _ in range(count)]


def test_linear_by_hand() -> None:
    merged = linear([tensor(1, 2), tensor(3, 6)], [0.75, 0.25])  # 0.75 + 0.75, 1.5 + 1.5
    assert merged.tolist() == [1.5, 3.0]


def test_task_arithmetic_by_hand() -> None:
    merged = task_arithmetic(tensor(1, 1), [tensor(2, 1), tensor(1, 5)], [0.5, -0.25])  # 1 + .5 * 1, 1 - .25 * 4
    assert merged.tolist() == [1.5, 0.0]


def test_slerp_by_hand() -> None:
    # A quarter turn from length 1 to length 1, half of the way: 45 degrees.
    torch.testing.assert_close(slerp(tensor(1, 0), tensor(0, 1), 0.5), tensor(math.sqrt(0.5), math.sqrt(0.5)))
    # A third of the way: sin 60 and sin 30 degrees.
    torch.testing.assert_close(slerp(tensor(2, 0), tensor(0, 4), 1 / 3), tensor(2 * math.sqrt(0.75), 4 * 0.5))


def test_ties_by_hand() -> None:
    base = tensor(1, 1, 1, 1)
    one = base + tensor(4, -3, 1, 0)  # half of four entries are kept: 4, -3
    two = base + tensor(2, 5, 0, 1)  # 2, 5
    # Signs: 4 + 2 is positive, -3 + 5 too, so one's -3 is left out. Means: (4 + 2) / 2, 5, nothing, nothing.
    assert ties(base, [one, two], [0.5, 0.5], 0.5).tolist() == [4.0, 6.0, 1.0, 1.0]
    # The weights' sum is the strength; within it they weigh: (3 * 4 + 1 * 2) / 4, and -9 + 5 is negative: -3.
    assert ties(base, [one, two], [3.0, 1.0], 0.5).tolist() == [1 + 4 * 3.5, 1 - 4 * 3.0, 1.0, 1.0]


def test_ties_keeps_the_base_where_signs_balance() -> None:
    assert ties(tensor(7), [tensor(9), tensor(5)], [0.5, 0.5], 1.0).tolist() == [7.0]


def test_trim_by_hand() -> None:
    assert trim(tensor(1, -4, 3, -2), 0.5).tolist() == [0.0, -4.0, 3.0, 0.0]
    assert trim(tensor(1, -4, 3, -2), 0.01).tolist() == [0.0, -4.0, 0.0, 0.0]  # one at least
    assert trim(tensor(1, -4, 3, -2), 1.0).tolist() == [1.0, -4.0, 3.0, -2.0]


def test_dare_by_hand() -> None:
    kept = torch.rand(6, generator=torch.Generator().manual_seed(5)) < 0.5
    assert 0 < int(kept.sum()) < 6
    base, model = torch.full((6,), 10.0), torch.full((6,), 13.0)
    found = dare(base, [model], [0.5], 0.5, torch.Generator().manual_seed(5))
    assert found.tolist() == [13.0 if keep else 10.0 for keep in kept.tolist()]  # 10 + 0.5 * 3 / 0.5


def test_linear_and_task_arithmetic_are_their_sums() -> None:
    base, *models = some(4)
    for weights in ([0.2, 0.3, 0.5], [1.5, -0.25, -0.25]):
        expected = torch.stack([w * m for w, m in zip(weights, models, strict=True)]).sum(0)
        torch.testing.assert_close(linear(models, weights), expected)
    for weights in ([0.3, 0.3, 0.3], [1.0, -0.5, 0.1]):
        expected = base + torch.stack([w * (m - base) for w, m in zip(weights, models, strict=True)]).sum(0)
        torch.testing.assert_close(task_arithmetic(base, models, weights), expected)


def test_slerp_turns_evenly() -> None:
    one, two = (part / part.norm() for part in some(2))
    whole = math.acos(float((one * two).sum()))
    for t in (0.1, 0.5, 0.8):
        found = slerp(one, two, t)
        assert float(found.norm()) == pytest.approx(1, abs=1e-6)  # it stays on the sphere
        assert math.acos(float((one * found).sum())) == pytest.approx(t * whole, abs=1e-5)


def test_slerp_is_linear_where_there_is_no_arc() -> None:
    one, zero = tensor(1, 2, 3), torch.zeros(3)
    for two in (zero, -one, 2 * one, one * (1 + 1e-7)):
        torch.testing.assert_close(slerp(one, two, 0.25), 0.75 * one + 0.25 * two)
    assert slerp(zero, zero, 0.3).tolist() == [0.0, 0.0, 0.0]


def slow_ties(base: Tensor, models: list[Tensor], weights: list[float], density: float) -> Tensor:
    """Entry by entry."""
    differences = [(model - base).flatten().tolist() for model in models]
    size = len(differences[0])
    for difference in differences:
        for i in sorted(range(size), key=lambda i, own=difference: abs(own[i]))[: size - math.ceil(density * size)]:
            difference[i] = 0.0
    merged = []
    for i in range(size):
        total = sum(w * difference[i] for w, difference in zip(weights, differences, strict=True))
        same = [(w, d[i]) for w, d in zip(weights, differences, strict=True) if d[i] * total > 0]
        mean = sum(w * d for w, d in same) / sum(w for w, _ in same) if same else 0.0
        merged.append(sum(weights) * mean)
    return base + torch.tensor(merged).reshape(base.shape)


@pytest.mark.parametrize("density", [0.1, 0.5, 1.0])
def test_ties_is_its_slow_twin(density: float) -> None:
    base, *models = some(4)
    for weights in ([1 / 3] * 3, [0.7, 0.2, 0.3]):
        torch.testing.assert_close(ties(base, models, weights, density), slow_ties(base, models, weights, density))


def test_dare_is_unbiased() -> None:
    difference = torch.full((200_000,), 3.0)
    found = drop(difference, 0.1, torch.Generator().manual_seed(0))
    # Each entry has the variance 9 (1 / 0.1 - 1) = 81; five standard errors of the mean fail one time in a million.
    assert float(found.mean()) == pytest.approx(3.0, abs=5 * 9 / math.sqrt(200_000))
    assert set(found.unique().tolist()) == {0.0, 30.0}


def test_dare_of_everything_is_task_arithmetic() -> None:
    base, *models = some(3)
    found = dare(base, models, [0.5, 0.4], 1.0, torch.Generator())
    torch.testing.assert_close(found, task_arithmetic(base, models, [0.5, 0.4]))


def test_dare_draws_by_seed_and_name_alone() -> None:
    base, *models = some(3)
    plan = Plan("dare", (0.5, 0.5), density=0.5)
    names = ["a", "b", "c"]
    found = {name: plan.merge(name, base, models) for name in names}
    again = {name: plan.merge(name, base, models) for name in reversed(names)}
    assert all(torch.equal(found[name], again[name]) for name in names)
    assert not torch.equal(found["a"], found["b"])
    assert not torch.equal(found["a"], Plan("dare", (0.5, 0.5), density=0.5, seed=1).merge("a", base, models))


def test_what_a_model_drops_does_not_depend_on_the_weight_of_another() -> None:
    base, one, two = some(3)
    both, alone = (Plan("dare", (w, 0.5), density=0.5).merge("a", base, [one, two]) for w in (0.25, 0.0))
    part = Plan("dare", (0.25, 0.0), density=0.5).merge("a", base, [one, two])
    torch.testing.assert_close(both - alone, part - base)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("method", METHODS)
def test_a_model_merged_with_itself_is_itself(method: str, dtype: torch.dtype) -> None:
    model = some(1)[0].to(dtype)
    merged = Plan(method, (0.3, 0.7)).merge("a", model, [model, model])
    assert torch.equal(merged.to(dtype), model)


@pytest.mark.parametrize("method", ["linear", "slerp", "task-arithmetic"])
def test_weights_one_and_zero_are_the_first_bit_for_bit(method: str) -> None:
    base, one, two = some(3)
    one[0, 0], two[0, 0], two[0, 1] = -0.0, 1.0, 1e30
    for weights, expected in (((1.0, 0.0), one), ((0.0, 1.0), two)):
        merged = Plan(method, weights).merge("a", base, [one, two])
        assert torch.equal(merged.view(torch.int32), expected.view(torch.int32))


def test_inputs_are_left_alone() -> None:
    parts = some(3)
    kept = [part.clone() for part in parts]
    for method in METHODS:
        Plan(method, (1.0, 0.0)).merge("a", parts[0], parts[1:]).zero_()
        Plan(method, (0.4, 0.6)).merge("a", parts[0], parts[1:]).zero_()
    assert all(torch.equal(part, before) for part, before in zip(parts, kept, strict=True))
