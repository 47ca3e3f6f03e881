"""What thinking on must bring: the price of tokens, one for exits and for whoever weighs several attempts."""

from __future__ import annotations

_SHORT = 10_000
"""Tokens; a thought shorter than this pays as if it had this length, so that short ones are not cut for pennies."""


def cost(price: float, thinking: float) -> float:
    """Accuracy that growth of a thought of so many tokens by the factor e must bring, at a price a thousand tokens."""
    return price * max(thinking, _SHORT) / 1000
