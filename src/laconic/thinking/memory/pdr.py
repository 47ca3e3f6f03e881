"""Drafts side by side, notes on all of them, and a new draft from the notes."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.thinking.memory.refine import Refinement
from laconic.types import Sampling


@knobs
class PDR(Refinement):
    """Parallel, distil, refine: several drafts at once, one bounded text made of them, and a draft from that text.

    Every round but the last writes ``width`` drafts in one batch, each with its own seed; the last round writes one,
    which is the answer. What one waits for is the longest draft of each round; what one pays for is all of them.

    Differences: the paper also trains a model under this operator. Its rounds may differ in width; here all but the
    last are alike. Where the request is greedy, drafts are sampled at ``temperature``, or they would all be the same.
    """

    card = Card(paper="Rethinking Thinking Tokens: LLMs as Improvement Operators", catalogue=(14,), lossless=False)

    width: Annotated[int, Field(ge=1)] = 4
    """Drafts side by side."""
    temperature: Annotated[float, Field(gt=0)] = 0.6
    """Of drafts, where the request itself is greedy."""

    def abreast(self, round: int) -> int:
        """All drafts, or the one that answers."""
        return 1 if round == self.rounds - 1 else self.width

    def sampled(self, sampling: Sampling, round: int) -> Sampling:
        """Drafts side by side are never greedy."""
        alike = sampling.greedy and self.abreast(round) > 1
        return replace(sampling, temperature=self.temperature) if alike else sampling
