"""Stop drafting where the drafter gives its own token too little."""

from __future__ import annotations

from laconic.policy import Card, knobs
from laconic.speculation.base import Node
from laconic.speculation.length.signal import SignalStop


@knobs
class Confidence(SignalStop):
    """Draft on while the probability of the likeliest token is at least ``threshold``.

    Source: the early stop of Kangaroo and SWIFT, and the confidence threshold of assisted generation in Transformers
    (0.4 there, 0.6 in Kangaroo). With ``aggregate=product`` it judges the whole draft, the rule that SpecDec++ proves
    optimal for a known chance of acceptance. Drafters without distributions give an estimate of their own.
    """

    card = Card(paper="Kangaroo; SWIFT; assisted generation (Transformers)", lossless=True)

    def estimate(self, node: Node) -> float:
        """The drafter's own word."""
        return node.confidence
