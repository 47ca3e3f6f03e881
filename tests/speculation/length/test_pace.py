"""What passes cost, as learned from rounds."""

from __future__ import annotations

import random

import pytest

from laconic.speculation.pace import Curve


@pytest.mark.parametrize("seed", range(20))
def test_no_pass_is_ever_thought_to_cost_nothing(seed: int) -> None:
    """Steep and noisy times, as on a busy machine: a line through them may fall below zero where nothing was seen."""
    source, curve = random.Random(seed), Curve()
    for _ in range(60):
        nodes = source.choice((9, 12, 15, 30, 60))
        curve.add(nodes, 1e-3 * max(nodes - 8, 0.1) * source.uniform(0.5, 2.0))
        assert all(curve.at(width) > 0 for width in range(1, 200))
