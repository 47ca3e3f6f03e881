"""Memory that no open slot needs is given back while others go on, and nobody's text changes by that."""

from __future__ import annotations

import pytest
import torch

from laconic.engine import Engine, Methods
from laconic.models.base import chain
from laconic.models.causal_lm import CausalLM
from laconic.models.slot_host import SlotHost
from laconic.models.slots import BLOCK, SlotPool
from laconic.types import Limits, Request, Sampling
from tests import tiny


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laconic.models.slots._WORTH", 1)


def pool_of(model: CausalLM) -> SlotPool:
    assert isinstance(model.host, SlotHost)
    return model.host.pool


@pytest.mark.usefixtures("eager")
def test_one_long_text_among_short_ones_does_not_leave_its_length_to_them() -> None:
    model = CausalLM(tiny.model(2))
    pool = pool_of(model)
    long = model.open()
    model.prefill(long, [1] * (5 * BLOCK))
    others = [model.open() for _ in range(3)]
    for slot in others:
        model.prefill(slot, [2, 3, 4])
    model.shrink()
    assert pool.capacity >= 5 * BLOCK  # it is needed
    expected = model.score([chain([5, 6])], [others[2]]).of(0).clone()
    long.close()
    model.shrink()
    assert (pool.row_capacity, pool.capacity) == (4, BLOCK)
    assert torch.allclose(model.score([chain([5, 6])], [others[2]]).of(0), expected, atol=1e-5)
    for slot in others[:2]:
        slot.close()
    model.shrink()
    assert (pool.row_capacity, pool.capacity) == (1, BLOCK)
    assert torch.allclose(model.score([chain([5, 6])], [others[2]]).of(0), expected, atol=1e-5)


def test_a_few_bytes_are_not_copied_about() -> None:
    model = CausalLM(tiny.model(2))
    slots = [model.open() for _ in range(8)]
    for slot in slots:
        model.prefill(slot, [1, 2])
    for slot in slots[1:]:
        slot.close()
    model.shrink()
    assert pool_of(model).row_capacity == 8


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(1.0, seed=5)], ids=["greedy", "sampled"])
@pytest.mark.parametrize("think", [(), ("answer-confidence",)], ids=["free", "probed"])
def test_requests_of_very_different_lengths_are_answered_as_alone(
    sampling: Sampling, think: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    shrunk = []
    resize = SlotPool._resize

    def watched(self: SlotPool, rows: int, capacity: int) -> None:
        shrunk.append(rows * capacity < self.row_capacity * self.capacity)
        resize(self, rows, capacity)

    engine = Engine(CausalLM(tiny.model(4, bias=tiny.REASONER)), tiny.text(), Methods(think=think))
    requests = [
        Request(engine.request(f"{i} + 3?").prompt * (9 if i == 0 else 1), sampling, Limits(8 if i < 7 else 90))
        for i in range(9)
    ]
    alone = [engine.run([request], batch=1)[0] for request in requests]
    monkeypatch.setattr(SlotPool, "_resize", watched)
    together = engine.run(requests, batch=8)
    assert any(shrunk), "the long prompt leaves early, and two long replies stay"
    assert [result.tokens for result in together] == [result.tokens for result in alone]
