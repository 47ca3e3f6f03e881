"""The largest of a row, against PyTorch's own search."""

from __future__ import annotations

import pytest
import torch

from laconic.models.largest import first_largest, largest

WIDTHS = [7, 4096, 4100, 8199, 49152]


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
