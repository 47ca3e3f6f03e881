"""An entropy bound whose threshold follows the acceptance rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from laconic.policy import Card, Needs, knobs
from laconic.speculation.base import Context, Node, Verdict
from laconic.speculation.length.signal import SignalStop, Watch, pinsker
from laconic.speculation.pace import Pace


@dataclass(slots=True)
class Follow(Watch):
    """State of one request; ``rate`` is the running share of accepted drafts."""

    rate: float = 1.0


@knobs
class AdaEDL(SignalStop):
    """Draft on while ``1 - sqrt(scale * H(q))``, a lower bound of acceptance, is at least a threshold that adapts.

    Source: "AdaEDL: Early Draft Stopping for Speculative Decoding via an Entropy-based Lower Bound on Token Acceptance
    Probability". After each round the acceptance rate r is averaged, ``r <- rate_memory r + (1 - rate_memory) new``,
    and the threshold moves by ``step`` towards more caution where r is below ``target`` and towards less where it is
    above, itself averaged with ``threshold_memory``. H is in nats. The bound is that of SVIP with other constants; what
    is new is the threshold.
    """

    card = Card(paper="AdaEDL: Early Draft Stopping for Speculative Decoding", lossless=True, arxiv="2410.18351")
    needs = Needs(draft_distribution=True)

    threshold: Annotated[float, Field(ge=0, le=1)] = 0.4
    """Threshold of the first round."""
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.15
    """Squared refusal estimate per nat of draft entropy (the authors' gamma)."""
    target: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Acceptance rate aimed at."""
    step: Annotated[float, Field(ge=0, le=1)] = 0.01
    """How far the threshold moves per round, before averaging."""
    rate_memory: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Weight of the past in the acceptance rate."""
    threshold_memory: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Weight of the past in the threshold."""

    def estimate(self, node: Node) -> float:
        """The entropy bound; 1 where no distribution is known."""
        return pinsker(node.probs, self.scale) if node.probs is not None else 1.0

    def start(self, context: Context, pace: Pace) -> Follow:
        """Begin with ``threshold`` and full acceptance."""
        return Follow(self.threshold)

    def observe(self, state: Watch, verdict: Verdict, seconds: float) -> None:
        """Move the threshold."""
        assert isinstance(state, Follow)
        share = verdict.accepted / len(verdict.tree)
        state.rate = self.rate_memory * state.rate + (1 - self.rate_memory) * share
        wanted = state.threshold + (self.step if state.rate < self.target else -self.step)
        state.threshold = self.threshold_memory * state.threshold + (1 - self.threshold_memory) * wanted
        state.threshold = min(max(state.threshold, 0.0), 1.0)
