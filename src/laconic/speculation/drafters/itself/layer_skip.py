"""The first layers draft."""

from __future__ import annotations

from typing import Any

from laconic.errors import UnmetNeed
from laconic.models.base import RunsParts
from laconic.models.partial import LayerPlan
from laconic.policy import Card, knobs
from laconic.speculation.drafters.itself.drafter import Own, SelfDrafter


@knobs
class LayerSkip(SelfDrafter):
    """Draft with the target's first ``exit`` layers and its own output head, as in LayerSkip.

    It pays on models that were trained for early exits (layer dropout and an exit loss): an ordinary model's early
    layers are not of the form that its output head reads, and are mostly refused.
    """

    card = Card(
        paper="LayerSkip: Enabling Early Exit Inference and Self-Speculative Decoding",
        lossless=True,
        arxiv="2404.16710",
    )

    exit: int
    """Layers that draft, from the first."""
    keep: str = ""
    """File of the tokens that may be drafted (``laconic fit vocab`` writes one); all of them without."""

    def suits(self, target: Any, draft_model: Any) -> None:
        """Raise UnmetNeed where the target has no more layers than these."""
        super().suits(target, draft_model)
        if isinstance(target, RunsParts) and not 0 < self.exit < target.num_layers:
            raise UnmetNeed(
                f"'{self.name}' cannot draft with {self.exit} of {target.num_layers} layers.",
                f"Name a number from 1 to {target.num_layers - 1}, e.g. layer-skip:{max(target.num_layers // 3, 1)}.",
            )

    def plan(self, state: Own) -> LayerPlan:
        """Always the same."""
        return LayerPlan.first(self.exit, of=state.target.num_layers)
