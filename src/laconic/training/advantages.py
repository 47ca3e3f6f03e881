"""Advantages from rewards: how much more, or less, likely an update shall make each rollout."""

from __future__ import annotations

import math
from collections.abc import Sequence

from laconic.errors import RewardError

_FLAT = 1e-9
"""Spread of rewards, relative to their size, below which they are one number that was rounded differently."""


def group_advantages(rewards: Sequence[float], *, scale: bool = True) -> list[float]:
    """Advantages relative to the group: rewards minus their mean, divided by their standard deviation.

    The deviation is the sample's (n - 1), as trainers compute it, without the small number that some add to it; where
    all rewards are the same, and in a group of one, every advantage is 0. ``scale`` False leaves the division out.
    Sources: GRPO (Shao et al. 2024, arXiv 2402.03300), Dr. GRPO (Liu et al. 2025, arXiv 2503.20783).
    Raises RewardError for no rewards and for ones that are no finite numbers.

    >>> group_advantages([1.0, 0.0, 0.0, 1.0], scale=False)
    [0.5, -0.5, -0.5, 0.5]
    """
    if not rewards or not all(map(math.isfinite, rewards)):
        raise RewardError(f"no advantages follow from the rewards {list(rewards)}.", "They must be finite numbers.")
    middle = math.fsum(rewards) / len(rewards)
    if max(rewards) - min(rewards) <= _FLAT * max(map(abs, rewards)):
        return [0.0] * len(rewards)
    squares = math.fsum((value - middle) ** 2 for value in rewards)
    deviation = math.sqrt(squares / (len(rewards) - 1)) if scale else 1.0
    return [(value - middle) / deviation for value in rewards]
