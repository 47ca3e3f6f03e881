from __future__ import annotations

import pytest
import torch

from laconic.errors import RequestError
from laconic.speculation.vocabulary import kept_tokens


def test_the_most_frequent_are_kept_in_the_order_of_their_ids() -> None:
    assert kept_tokens(torch.tensor([3, 0, 7, 1, 7]), 3).tolist() == [0, 2, 4]


def test_among_equals_the_lower_ids_are_kept() -> None:
    assert kept_tokens(torch.tensor([0, 2, 0, 2, 2, 0]), 2).tolist() == [1, 3]
    assert kept_tokens(torch.zeros(9, dtype=torch.long), 4).tolist() == [0, 1, 2, 3]


def test_some_are_kept_always_and_count_as_part_of_the_size() -> None:
    counts = torch.tensor([9, 8, 7, 0, 0])
    assert kept_tokens(counts, 3, always=[4, 3, 4]).tolist() == [0, 3, 4]
    assert counts.tolist() == [9, 8, 7, 0, 0]


@pytest.mark.parametrize("kind", [torch.int64, torch.int32, torch.float64, torch.float32])
def test_counts_of_any_kind_stay_as_they_are(kind: torch.dtype) -> None:
    counts = torch.tensor([1, 2, 3], dtype=kind)
    assert kept_tokens(counts, 2, always=[0]).tolist() == [0, 2]
    assert counts.tolist() == [1, 2, 3]


@pytest.mark.parametrize(("size", "always"), [(0, []), (4, []), (1, [0, 1]), (2, [3]), (2, [-1])])
def test_what_cannot_be_kept_is_refused(size: int, always: list[int]) -> None:
    with pytest.raises(RequestError):
        kept_tokens(torch.tensor([1, 2, 3]), size, always)
