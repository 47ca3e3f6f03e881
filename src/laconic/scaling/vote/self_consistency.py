"""Self-consistency: sample many, take the answer that comes most often."""

from __future__ import annotations

from laconic.policy import Card, knobs
from laconic.scaling.vote.base import Vote


@knobs
class SelfConsistency(Vote):
    """All attempts are written to their ends, and each has one vote.

    Source: Self-Consistency Improves Chain of Thought Reasoning in Language Models (Wang et al. 2022). What all other
    votes are measured against.
    """

    card = Card(paper="Self-Consistency (Wang et al. 2022)", lossless=False, arxiv="2203.11171")
