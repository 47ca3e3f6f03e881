"""A refused token stands where a trained head thinks that the answer will not suffer from it."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any

from pydantic import Field

from laconic.errors import UnmetNeed
from laconic.policy import Card, Needs, knobs
from laconic.speculation.base import Refused, Relaxation
from laconic.speculation.heads import Trained, load, probability, train


@knobs
class JudgeHead(Relaxation):
    """A refused token stands if a linear head on the target's hidden state at it gives it more than ``threshold``.

    Source: "Judge Decoding", whose authors annotated by hand where wrong answers go wrong. Here nobody annotates: as in
    AutoJudge (2504.20039) a token is a mistake if the target, made to write it, goes on to another answer than it came
    to without (``laconic fit judge-head``).
    """

    card = Card(
        paper="Judge Decoding: Faster Speculative Sampling Requires Going Beyond Model Alignment",
        lossless=False,
        catalogue=(196,),
        arxiv="2501.19309",
    )
    needs = Needs(target_hidden=True)
    hints = {"head": train("judge-head")}  # noqa: RUF012

    files = frozenset({"head"})

    head: str
    """Folder that ``laconic fit judge-head`` wrote."""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Chance that the answer stays the same above which a token stands; 1 lets nothing stand."""

    @cached_property
    def _trained(self) -> Trained:
        return load(self.head, "judge-head")

    def suits(self, target: Any, draft_model: Any) -> None:
        """Raise HeadError unless the head was trained on this target."""
        self._trained.suits("judge-head", target)

    def chance(self, refused: Refused) -> float:
        """1 above the threshold."""
        if refused.hidden is None:
            raise UnmetNeed("'judge-head' looks at the target's hidden states, which are not known here.")
        return float(probability(self._trained(refused.hidden)) > self.threshold)
