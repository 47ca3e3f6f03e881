"""Sampling at its edges: whatever a client may ask for, there is a distribution to draw from."""

from __future__ import annotations

import pytest
import torch

from laconic import Limits, Sampling
from laconic.speculation.draws import warp
from laconic.speculation.penalty import sampling_rules
from laconic.thinking.base import Place, ruled
from tests.serve.live import bundled

QUESTION = "What is 3 + 15?"


@pytest.mark.parametrize("temperature", [1e-7, 1e-20, 1e-38, 1e-45, 5e-324])
def test_the_coldest_sampling_is_greedy(temperature: float) -> None:
    cold, greedy = (
        bundled().generate(QUESTION, sampling=Sampling(at, seed=3), limits=Limits(60)) for at in (temperature, 0.0)
    )
    assert cold.tokens == greedy.tokens


@pytest.mark.parametrize("temperature", [5e-324, 1e-10, 1.0, 100.0])
@pytest.mark.parametrize("penalty", [5e-324, 1e-40, 1e-30, 1e-3, 10.0])
def test_no_penalty_leaves_nothing_to_draw(penalty: float, temperature: float) -> None:
    sampling = Sampling(temperature, repetition_penalty=penalty, top_p=0.9, min_p=0.01, top_k=3)
    row = torch.tensor([3.0, 5.0, -2.0, 0.5, 4.0])
    place = Place("answer", 0, 3, 0, [0, 1, 1, 2])
    probs = warp(ruled(sampling_rules(sampling, 1), row, place), sampling)
    assert probs.isfinite().all()
    assert float(probs.sum()) == pytest.approx(1)
    assert int(probs.argmax()) in ((0, 1) if penalty < 1 else (4,))
