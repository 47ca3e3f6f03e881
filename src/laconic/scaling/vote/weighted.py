"""Votes weighted by how likely the model found what it wrote."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field

from laconic.policy import Card, Needs, knobs
from laconic.scaling.base import Attempt, Board
from laconic.scaling.vote.base import Vote, log_probability


@knobs
class Weighted(Vote):
    """A vote counts as much as the model was sure of what it wrote.

    Source: the weighted sums of Self-Consistency (Wang et al. 2022, table 1): the probability of the whole text, or its
    geometric mean over tokens (``mean``); and Confidence-Improved Self-Consistency (Taubenfeld et al. 2025): a softmax
    over the attempts of that mean, at a ``temperature``, which 0 leaves out.
    """

    card = Card(paper="Self-Consistency (Wang et al. 2022); CISC", lossless=False, arxiv="2502.06233")
    needs = Needs(chances=True)

    by: Literal["mean", "text"] = "mean"
    """The probability of a token on average, or that of the whole text."""
    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Of the softmax over the attempts; 0 takes the probability as it is."""

    def weight(self, state: Any, board: Board, attempt: Attempt) -> float:
        """The probability, or its share among all voters."""
        if self.temperature == 0:
            logs = {a.number: self._log(a) for a in board.done}
            shift = max(logs.values()) if self.by == "text" else 0.0  # of whole texts only ratios can be written down
            return math.exp(logs[attempt.number] - shift)
        scores = {a.number: math.exp(self._log(a)) / self.temperature for a in board.done}
        top = max(scores.values())
        total = sum(math.exp(score - top) for score in scores.values())
        return math.exp(scores[attempt.number] - top) / total

    def _log(self, attempt: Attempt) -> float:
        total = log_probability(attempt)
        return total / max(len(attempt.chances), 1) if self.by == "mean" else total
