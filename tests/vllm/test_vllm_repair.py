"""Temperatures over drafts: a plain loop says what is right, and only a kernel that is wrong is replaced."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from laconic.vllm import repair
from laconic.vllm.repair import expanding, spread


@pytest.fixture(autouse=True)
def _process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "_FOUND", {})


def plain(x: torch.Tensor, ends: torch.Tensor, rows: int, replace_from: float = 0, replace_to: float = 0) -> Any:
    """The obvious way."""
    out, begin = x.new_empty(rows), 0
    for value, end in zip(x, ends.tolist(), strict=True):
        for row in range(begin, end):
            out[row] = replace_to if value == replace_from else value
        begin = end
    return out


def cases(count: int) -> list[tuple[Any, ...]]:
    dice, made = random.Random(0), []
    for n in range(count):
        sizes = [dice.randrange(4) for _ in range(dice.randrange(1, 6))]
        ends = torch.tensor(sizes).cumsum(0).to(dice.choice((torch.int32, torch.int64)))
        values = [dice.choice((0, 0, 1, 3, 40)) for _ in sizes]
        x = torch.tensor(values, dtype=(torch.float32, torch.int32, torch.int64, torch.float64)[n % 4])
        x = x / 2 if x.is_floating_point() else x
        made.append((x, ends, sum(sizes), *dice.choice(((), (0, 1), (3, 0), (0.5, 0.25)[: 2 * x.is_floating_point()]))))
    return made


def test_spread_is_the_plain_loop() -> None:
    replaced = 0
    for case in cases(300):
        found, right = spread(*case), plain(*case)
        assert torch.equal(found, right)
        assert found.dtype == case[0].dtype == right.dtype
        replaced += not torch.equal(right, plain(*case[:3], -1, -1))
    assert replaced > 50


def test_a_right_kernel_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[int] = []

    def kernel(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        asked.append(len(x))
        return plain(x, *args, **kwargs)

    expand = expanding(kernel)
    for case in cases(5):
        before = len(asked)
        assert torch.equal(expand(*case), plain(*case))
        assert asked[before:][-1:] == [len(case[0])]
    assert len(asked) == 6  # one trial
    assert not caplog.records


@pytest.mark.parametrize("wrong", ["noise", "zeros"])
def test_a_wrong_kernel_is_replaced_and_said_once(wrong: str, caplog: pytest.LogCaptureFixture) -> None:
    def kernel(x: torch.Tensor, ends: torch.Tensor, rows: int, *_: Any, **__: Any) -> torch.Tensor:
        return torch.full([rows], 7.0) if wrong == "noise" else x.new_zeros(rows)

    expand = expanding(kernel)
    for case in cases(9):
        assert torch.equal(expand(*case), plain(*case))
    x, ends = torch.tensor([0, 5]), torch.tensor([1, 3])
    assert expand(x, cu_num_tokens=ends, num_tokens=3, replace_from=0, replace_to=9).tolist() == [9, 5, 5]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "temperatures" in caplog.text


def test_other_devices_are_not_tried() -> None:
    asked: list[str] = []

    def kernel(x: torch.Tensor, *_: Any) -> torch.Tensor:
        asked.append(x.device.type)
        return x

    x = torch.zeros(2, device="meta")
    assert expanding(kernel)(x, x, 2) is x
    assert asked == ["meta"]
