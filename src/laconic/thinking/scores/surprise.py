"""What the tokens' probabilities say of a thought: entropy in windows, and how surprising steps begin."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from laconic.errors import RequestError


def window_entropy(entropies: Sequence[float], window: int = 4) -> list[float]:
    """The mean entropy of each token and the ``window - 1`` tokens after it, in nats; fewer at the end.

    ARES (catalogue 226) looks for places where the model stays uncertain, which a single uncertain token is not. Raises
    RequestError for a window below 1.
    """
    if window < 1:
        raise RequestError(f"a window must be >= 1, not {window}.")
    sums = [0.0, *accumulate(entropies)]
    ends = (min(at + window, len(entropies)) for at in range(len(entropies)))
    return [(sums[end] - sums[at]) / (end - at) for at, end in enumerate(ends)]


def high_windows(entropies: Sequence[float], threshold: float, window: int = 4) -> list[int]:
    """The tokens at which a window begins whose mean entropy is above ``threshold``."""
    return [at for at, mean in enumerate(window_entropy(entropies, window)) if mean > threshold]


def first_token_surprisal(logprobs: Sequence[float], starts: Sequence[int]) -> list[float]:
    """The negative log-probability of each step's first token, in nats, step by step.

    ASAP (catalogue 240) keeps the steps whose first token is surprising: they are where a thought turns. Raises
    RequestError for a start that is none of the tokens.
    """
    if any(not 0 <= start < len(logprobs) for start in starts):
        raise RequestError("a step starts outside of the tokens.")
    return [-logprobs[start] for start in starts]
