"""What an aim says of numbers of prompts."""

from __future__ import annotations

import pytest

from laconic.bench.harm.aim import Aim
from laconic.bench.harm.sequence import MOST_SOUGHT, fewest_at


@pytest.mark.parametrize(
    ("harms", "n", "says"),
    [
        (3, 600, f"at that rate it takes about {fewest_at(0.005, 0.01, 0.95)} calibration prompts"),
        (6, 600, "at that rate no number of prompts would do"),
        (9, 600, "at that rate no number of prompts would do"),
        (9_990, 1_000_000, f"at that rate it takes more than {MOST_SOUGHT:,} calibration prompts"),
    ],
)
def test_how_many_prompts_it_takes_is_said(harms: int, n: int, says: str) -> None:
    assert Aim(0.01).takes(harms, n) == says


def test_a_setting_is_tested_at_the_aim() -> None:
    aim = Aim(0.02, 0.9)
    for n in (200, 500, 1000):
        most = aim.allowed(n)
        passing, failing = aim.tested(most, n), aim.tested(most + 1, n)
        assert passing["p_value"] <= 0.1 < failing["p_value"]
        assert passing["upper_bound"] <= 0.02 < failing["upper_bound"]
