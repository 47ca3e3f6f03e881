"""Adaptive consistency: sample one by one, and stop when the majority will hardly change."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from laconic.policy import Card, knobs
from laconic.scaling.base import Board
from laconic.scaling.vote.base import Vote, counts

_DRAWS = 4000
"""Draws from the Dirichlet distribution; the error of a probability near 0.95 is about 0.0035."""


@knobs
class AdaptiveConsistency(Vote):
    """One attempt after the other, until the answer ahead is the most frequent one with probability ``sure``.

    Source: Let's Sample Step by Step: Adaptive-Consistency (Aggarwal et al. 2023). Counts of answers are draws from an
    unknown distribution with a uniform prior. ``beta`` looks at the two most frequent answers (equation 3: the chance
    that the first is the likelier of the two), ``dirichlet`` at all of them (equation 2, by simulation). With
    ``abreast`` several attempts are under way at once: sooner done, with some in vain.
    """

    card = Card(paper="Adaptive-Consistency (Aggarwal et al. 2023)", lossless=False, arxiv="2305.11860")

    sure: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Probability at which it stops."""
    by: Literal["beta", "dirichlet"] = "beta"
    """How it is computed."""

    def at_once(self, board: Board) -> int:
        """One."""
        return 1

    def enough(self, state: Any, board: Board) -> str:
        """Where the lead is safe."""
        votes = counts(board)
        if not votes:
            return ""
        found = leads(votes) if self.by == "beta" else _dirichlet(votes, board.seed)
        return f"its lead is safe with probability {found:.3f}" if found >= self.sure else ""


def leads(votes: list[int]) -> float:
    """Chance that the answer with ``votes[0]`` is likelier than that with ``votes[1]``, after a uniform prior.

    With a and b votes it is the chance that a Beta(a + 1, b + 1) variable is above 1/2: that of at most a successes
    among a + b + 1 tosses of a fair coin.
    """
    first, second = votes[0], votes[1] if len(votes) > 1 else 0
    tosses = first + second + 1
    total, term = 0, 1
    for successes in range(first + 1):
        total += term
        term = term * (tosses - successes) // (successes + 1)
    return float(total / 2**tosses)


def _dirichlet(votes: list[int], seed: int) -> float:
    """The same for being the likeliest of all seen answers and one unseen."""
    draws = np.random.default_rng(seed & (2**63 - 1)).dirichlet([*(v + 1.0 for v in votes), 1.0], _DRAWS)
    return float((draws.argmax(1) == 0).mean())
