"""The largest of a row, against PyTorch's own search."""

from __future__ import annotations

import pytest
import torch

from laconic.models import largest as module
from laconic.models.largest import first_largest, largest
from laconic.models.native import bf16

WIDTHS = [7, 4096, 4100, 8199, 49152]


@pytest.fixture(params=["compiled", "PyTorch"], autouse=True)
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's own search, where it can be had, and that made of PyTorch's."""
    if request.param == "compiled" and bf16.kernels() is None:
        pytest.skip("no AVX2, or no C compiler")
    monkeypatch.setattr(module.bf16, "loaded", bf16.kernels if request.param == "compiled" else lambda: None)


def rows(width: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    """Coarse numbers, so that many are equal, with what rules leave of a row in one of them."""
    made = (torch.randn(5, width, generator=torch.Generator().manual_seed(seed)) * 8).round().to(dtype)
    made[1] = -torch.inf
    made[1, width // 2] = -3
    made[2] = 0
    return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_first_of_the_largest_is_found(width: int, dtype: torch.dtype) -> None:
    for seed in range(4):
        made = rows(width, dtype, seed)
        assert first_largest(made).tolist() == made.argmax(-1).tolist()
    assert first_largest(rows(width, dtype)[:, 1:]).shape == (5,), "a view that is not contiguous"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("k", [1, 4, 7])
def test_the_largest_are_found_in_order(width: int, dtype: torch.dtype, k: int) -> None:
    for seed in range(4):
        made = rows(width, dtype, seed)
        values, indices = largest(made, k)
        assert values.tolist() == made.topk(k, -1).values.float().tolist()
        assert values.tolist() == made.gather(1, indices).float().tolist()
        assert all(len(set(row)) == k for row in indices[[0, 2, 3, 4]].tolist()), "each index once"


def test_what_is_no_number_is_told() -> None:
    made = rows(4100, torch.float32)
    made[3, 4099] = torch.nan
    made[4, 0] = torch.inf
    values, places = largest(made, 3)
    assert values[3].isnan().any()
    assert values[4, 0] == torch.inf
    assert places[4, 0] == 0
    assert values[0].tolist() == made[0].topk(3).values.tolist(), "and no other row knows"


@pytest.mark.parametrize("default", [torch.bfloat16, torch.float64], ids=str)
def test_pytorchs_default_type_does_not_matter(default: torch.dtype) -> None:
    made = rows(4100, torch.float32)
    torch.set_default_dtype(default)
    try:
        values, _ = largest(made, 5)
    finally:
        torch.set_default_dtype(torch.float32)
    assert values.dtype == torch.float32
    assert values.tolist() == made.topk(5).values.tolist()
