"""LoRE-Merging: examples by hand, a twin in NumPy, the objective that it descends, and what must hold exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from laconic.training.merging import Plan
from laconic.training.merging.arithmetic import linear
from laconic.training.merging.lowrank import lore, shrink


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def some(count: int, shape: tuple[int, ...] = (5, 7)) -> list[Tensor]:
    made = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=made) for _ in range(count)]


def test_shrink_by_hand() -> None:
    assert shrink(torch.diag(tensor(5, -3, 1)), 2.0).tolist() == torch.diag(tensor(3, -1, 0)).tolist()
    # [[2, 2], [2, 2]] has the singular values 4 and 0: a quarter goes.
    torch.testing.assert_close(shrink(torch.full((2, 2), 2.0), 1.0), torch.full((2, 2), 1.5))
    assert shrink(tensor(3, 4), 1.0).tolist() == pytest.approx([2.4, 3.2])  # a vector of length 5
    assert shrink(tensor(3, 4), 6.0).tolist() == [0.0, 0.0]
    assert shrink(torch.zeros(2, 3), 1.0).tolist() == [[0.0] * 3] * 2
    assert shrink(torch.tensor(-3.0), 1.0).item() == pytest.approx(-2.0)


@pytest.mark.parametrize("shape", [(5, 7), (7, 5), (6, 6), (1, 4), (4, 1)])
def test_shrink_is_that_of_the_singular_value_decomposition(shape: tuple[int, int], monkeypatch) -> None:
    monkeypatch.setattr("laconic.training.merging.lowrank._ROWS", 3)
    (matrix,) = some(1, shape)
    left, sizes, right = np.linalg.svd(matrix.double().numpy(), full_matrices=False)
    expected = left * np.maximum(sizes - 0.8, 0) @ right
    np.testing.assert_allclose(shrink(matrix, 0.8).numpy(), expected, atol=1e-5)


def test_of_a_tensor_of_three_dimensions_each_matrix_is_shrunk_by_itself() -> None:
    (matrices,) = some(1, (3, 4, 2))
    found = shrink(matrices, 0.5)
    for i in range(3):
        torch.testing.assert_close(found[i], shrink(matrices[i], 0.5))


def test_two_models_by_hand() -> None:
    one, two = torch.diag(tensor(4, 1)), torch.diag(tensor(0, -1))
    # The mean is diag(2, 0), and the halves are diag(2, 1), shrunk by 1: diag(1, 0).
    for weights, expected in (((1.0, 0.0), (3, 0)), ((0.0, 1.0), (1, 0)), ((0.5, 0.5), (2, 0)), ((2.0, -1.0), (5, 0))):
        assert lore([one, two], weights, 1.0, 20).tolist() == torch.diag(tensor(*expected)).tolist()


def test_three_models_by_hand() -> None:
    models = [tensor(0), tensor(0), tensor(3)]  # matrices of one number, which is their singular value
    thirds = (1 / 3, 1 / 3, 1 / 3)
    # First turn: base 1, differences -1/2, -1/2, 3/2. Second: base (1/2 + 1/2 + 3/2) / 3 = 5/6, then -1/3, -1/3, 5/3.
    assert lore(models, thirds, 0.5, 1).item() == pytest.approx(1 + 1 / 6)
    assert lore(models, thirds, 0.5, 2).item() == pytest.approx(5 / 6 + 1 / 3)
    assert lore(models, (0.0, 0.0, 2.0), 0.5, 2).item() == pytest.approx(5 / 6 + 10 / 3)
    # Where it settles each of both zeros pulls down by what it is off, 3 pulls up by all of mu: base 1/4.
    assert lore(models, (0.0, 0.0, 0.0), 0.5, 500).item() == pytest.approx(1 / 4, abs=1e-4)


def twin(models: list[Tensor], weights: tuple[float, ...], mu: float, iterations: int) -> np.ndarray:
    """The turns of the paper's algorithm as they are written, with NumPy's decomposition."""
    found = [model.double().numpy() for model in models]
    deltas = [np.zeros_like(model) for model in found]
    base = np.zeros_like(found[0])
    for _ in range(iterations):
        base = sum(model - delta for model, delta in zip(found, deltas, strict=True)) / len(found)
        for i, model in enumerate(found):
            left, sizes, right = np.linalg.svd(model - base, full_matrices=False)
            deltas[i] = left * np.maximum(sizes - mu, 0) @ right
    return base + sum(weight * delta for weight, delta in zip(weights, deltas, strict=True))


@pytest.mark.parametrize("iterations", [1, 2, 7])
def test_lore_is_its_twin(iterations: int) -> None:
    models = some(4)
    for weights in ((0.25, 0.25, 0.25, 0.25), (1.0, -0.5, 0.0, 0.3)):
        found = lore(models, weights, 1.5, iterations)
        np.testing.assert_allclose(found.numpy(), twin(models, weights, 1.5, iterations), atol=1e-5)


def test_every_turn_descends() -> None:
    models, mu = some(3), 1.5

    def objective(iterations: int) -> float:
        weights = [tuple(float(i == k) for i in range(3)) for k in range(3)]
        base = lore(models, (0.0, 0.0, 0.0), mu, iterations).double()
        found = [lore(models, weight, mu, iterations).double() - base for weight in weights]
        return sum(
            0.5 * float((base + delta - model.double()).pow(2).sum())
            + mu * float(torch.linalg.matrix_norm(delta, "nuc"))
            for delta, model in zip(found, models, strict=True)
        )

    values = [objective(turns) for turns in (1, 2, 3, 10, 50)]
    assert values == sorted(values, reverse=True)
    assert values[1] < values[0] - 0.01


def test_nothing_is_shrunk_by_nothing_and_all_by_much() -> None:
    models, weights = some(3), (0.5, 0.2, 0.3)
    torch.testing.assert_close(lore(models, weights, 0.0, 5), linear(models, weights))  # theta_0 + delta_i is theta_i
    torch.testing.assert_close(lore(models, weights, 1e6, 5), torch.stack(models).mean(0))


def test_two_models_of_the_same_weight_merge_to_their_mean() -> None:
    one, two = some(2)
    for mu in (0.0, 0.5, 3.0):
        torch.testing.assert_close(lore([one, two], (0.5, 0.5), mu, 20), (one + two) / 2)


def test_turning_all_models_turns_what_they_merge_to() -> None:
    models = some(3)
    left, right = (torch.linalg.qr(part)[0] for part in (some(1, (5, 5))[0], some(1, (7, 7))[0]))
    turned = lore([left @ model @ right for model in models], (0.6, 0.3, 0.1), 1.0, 5)
    torch.testing.assert_close(turned, left @ lore(models, (0.6, 0.3, 0.1), 1.0, 5) @ right, atol=1e-5, rtol=1e-4)


def test_what_was_not_said_stands_in_the_plan() -> None:
    plan, models = Plan("lore", (0.5, 0.2, 0.3)), some(3)
    assert (plan.mu, plan.iterations, plan.density) == (0.01, 20, None)
    assert torch.equal(plan.merge("a", None, models), lore(models, plan.weights, 0.01, 20))
    other = Plan("lore", (0.5, 0.2, 0.3), mu=2.0, iterations=1)
    assert torch.equal(other.merge("a", None, models), lore(models, plan.weights, 2.0, 1))
