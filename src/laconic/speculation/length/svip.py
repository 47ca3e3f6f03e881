"""Stop drafting where the draft model itself is unsure."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from laconic.policy import Card, Needs, knobs
from laconic.speculation.base import Context, Go, LengthPolicy, Node
from laconic.speculation.length.signal import ending, pinsker
from laconic.speculation.pace import Pace


@knobs
class SVIP(LengthPolicy):
    """Stop drafting where the entropy of the draft distribution predicts a refusal.

    Source: "Draft Model Knows When to Stop" (SVIP). By Pinsker's inequality the acceptance of a token drawn from q
    is bounded below by ``1 - sqrt(KL / 2)``; the divergence from the target is taken as proportional to the
    entropy H(q), so drafting stops when ``sqrt(scale * H(q)) > threshold``, H in nats. As in the authors' code a chain
    keeps the token whose entropy ended it: the pass that showed the entropy has been paid for. In a tree it is left
    out, where one such token at the end of each branch would fill the draft. The test never sees the value drawn
    from q.
    """

    card = Card(paper="Draft Model Knows When to Stop (SVIP)", lossless=True, catalogue=(54,))
    needs = Needs(draft_distribution=True)

    threshold: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.3
    """Largest bearable estimate of the refusal probability."""
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.15
    """Squared refusal estimate per nat of draft entropy (the authors' c)."""
    maximum: Annotated[int, Field(ge=1)] = 16
    """Most tokens drafted per round, however sure the draft model is."""

    def start(self, context: Context, pace: Pace) -> None:
        """Nothing to remember."""

    def budget(self, state: None) -> int:
        """Always ``maximum``; ``go_on`` ends most drafts sooner."""
        return self.maximum

    def go_on(self, state: None, node: Node) -> Go:
        """Whether the estimated refusal at ``node`` stays within the threshold."""
        if node.probs is None:
            return Go.ON
        return Go.ON if 1 - pinsker(node.probs, self.scale) <= self.threshold else ending(node)
