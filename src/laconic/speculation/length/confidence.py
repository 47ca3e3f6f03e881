"""Stop drafting where the drafter gives its own token too little."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from laconic.policy import Card, knobs
from laconic.speculation.base import Context, Go, Node, Verdict
from laconic.speculation.length.signal import SignalStop, Watch
from laconic.speculation.pace import Pace

_ENOUGH = 5
"""Tokens that must have been judged before the threshold moves."""
_MISSED = 3.0
"""Cost of leaving out a token that would have been accepted, over that of drafting one that is refused."""
_WINDOW = 512
"""Tokens that are remembered."""


@dataclass(slots=True)
class Judged(Watch):
    """State of one request: what its drafter said of the tokens that were judged, and whether they held."""

    said: list[float] = field(default_factory=list)
    """Confidences of this round's draft, in order."""
    seen: deque[tuple[float, bool]] = field(default_factory=lambda: deque(maxlen=_WINDOW))


@knobs
class Confidence(SignalStop):
    """Draft on while the probability of the likeliest token is at least ``threshold``.

    Source: the early stop of Kangaroo and SWIFT, and the confidence threshold of assisted generation in Transformers
    (0.4 there, 0.6 in Kangaroo). A chain of a model's keeps the token that fell below, as assisted generation does:
    its draft pass has been paid for. With ``aggregate=product`` it judges the whole draft, the rule that SpecDec++
    proves optimal for a known chance of acceptance. Drafters without distributions give an estimate of their own.

    ``dynamic`` moves the threshold after each round to where, over the request's own tokens so far, the share of
    refused tokens drafted plus three times the share of accepted tokens left out is least (the dynamic threshold of
    assisted generation). It judges chains by their own tokens' confidence.
    """

    card = Card(paper="Kangaroo; SWIFT; assisted generation (Transformers)", lossless=True)

    dynamic: bool = False
    """Whether the threshold follows what has been accepted."""

    def start(self, context: Context, pace: Pace) -> Judged:
        """Begin with ``threshold``."""
        return Judged(self.threshold)

    def budget(self, state: Watch) -> int:
        """Always ``maximum``; ``go_on`` ends most drafts sooner."""
        assert isinstance(state, Judged)
        state.said.clear()
        return super().budget(state)

    def go_on(self, state: Watch, node: Node) -> Go:
        """Compare with the threshold in force."""
        assert isinstance(state, Judged)
        go = super().go_on(state, node)
        if self.dynamic and go is not Go.STOP:
            state.said.append(self.estimate(node))
        return go

    def estimate(self, node: Node) -> float:
        """The drafter's own word."""
        return node.confidence

    def observe(self, state: Judged, verdict: Verdict, seconds: float) -> None:
        """Move the threshold, if it is ``dynamic``."""
        if not self.dynamic or not verdict.tree.is_chain:
            return
        state.seen += [(said, at < verdict.accepted) for at, said in enumerate(state.said[: verdict.accepted + 1])]
        best = best_threshold(state.seen)
        if best is not None:
            state.threshold = best


def best_threshold(seen: Sequence[tuple[float, bool]]) -> float | None:
    """The threshold with the least false positive rate plus three times the false negative rate; None if unknown yet.

    ``seen`` are confidences and whether the tokens were accepted. Of equal thresholds the highest is taken.
    """
    held, refused = sum(held for _, held in seen), sum(not held for _, held in seen)
    if len(seen) <= _ENOUGH or not held or not refused:
        return None
    best, least = 1.0, _MISSED
    drafted = [0, 0]
    ranked = sorted(seen, reverse=True)
    for at, (confidence, accepted) in enumerate(ranked):
        drafted[accepted] += 1
        if at + 1 < len(ranked) and ranked[at + 1][0] == confidence:
            continue
        cost = drafted[False] / refused + _MISSED * (1 - drafted[True] / held)
        if cost < least:
            best, least = confidence, cost
    return best
