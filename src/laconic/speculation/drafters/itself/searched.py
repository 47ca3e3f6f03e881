"""Which layers to leave out was searched for beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

from laconic.errors import HeadError, UnmetNeed
from laconic.models.partial import LayerPlan
from laconic.policy import Card, knobs
from laconic.speculation.drafters.itself.drafter import Own, SelfDrafter
from laconic.speculation.drafters.itself.files import read_plan


@knobs
class DraftVerify(SelfDrafter):
    """Draft without the parts of layers that ``laconic fit skip`` found this target can do without.

    The search is Draft & Verify's, made once for a model on texts that it has written: which attentions and
    feed-forward networks to leave out so that tokens come fastest, weighing what is accepted against what the rest of
    the layers cost.
    """

    card = Card(
        paper="Draft & Verify: Lossless Large Language Model Acceleration via Self-Speculative Decoding",
        lossless=True,
        arxiv="2309.08168",
    )
    files = frozenset({"path", "keep"})
    hints: ClassVar[Mapping[str, str]] = {"path": "Make one: laconic fit skip FILE; then --drafter draft-verify:FILE."}

    path: str
    """File of the plan."""
    keep: str = ""
    """File of the tokens that may be drafted (``laconic fit vocab`` writes one); all of them without."""

    @cached_property
    def _found(self) -> tuple[LayerPlan, str]:
        return read_plan(self.path)

    def suits(self, target: Any, draft_model: Any) -> None:
        """Raise HeadError unless the plan was made for this target, UnmetNeed where it cannot be run as it is."""
        super().suits(target, draft_model)
        plan, fingerprint = self._found
        if target.fingerprint() != fingerprint:
            raise HeadError(
                f"the plan at '{self.path}' was made for another model than this target.", "Make one for it."
            )
        if plan.halves and not target.runs_halves:
            raise UnmetNeed(
                f"the plan at '{self.path}' leaves out halves of layers, which this model's passes cannot here.",
                "Make one with the same --dtype and device as in the run.",
            )

    def plan(self, state: Own) -> LayerPlan:
        """What the file says."""
        return self._found[0]
