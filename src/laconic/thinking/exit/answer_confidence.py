"""Stop thinking once the model is sure of its answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.thinking.base import Belief, View
from laconic.thinking.exit.probed import Asked, Hopeless, ProbedExit


@knobs
class AnswerConfidence(ProbedExit):
    """At the end of a step, ask what the answer would be now; stop when its probability is high enough.

    The probe closes the thought, opens the answer and follows the model's greedy continuation; the confidence is
    taken over the answer's tokens and the one that ends it (DEER, arXiv 2504.15895, which uses the geometric mean
    and a threshold of 0.95). As a branch of the verification pass a probe costs no pass of its own. It ends as soon as
    the tokens known so far rule the threshold out, which changes no decision.
    """

    card = Card(paper="Dynamic Early Exit in Reasoning Models (DEER)", arxiv="2504.15895", lossless=False)

    threshold: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Stop when the confidence is at least this."""
    aggregate: Literal["mean", "product", "min"] = "mean"
    """Confidence of an answer from its tokens': geometric mean, product, or the least of them."""
    patience: Annotated[int, Field(ge=1)] = 1
    """Probes in a row that must be sure, and of the same answer."""

    def settled(self, asked: Asked) -> str | None:
        """Compare the last beliefs with the threshold, and with each other."""
        last = [look.belief for look in asked.looks[-self.patience :]]
        if len(last) < self.patience or len({belief.answer for belief in last}) > 1:
            return None
        if not all(belief.complete and self._confidence(belief) >= self.threshold for belief in last):
            return None
        return f"answer {last[-1].answer!r} has confidence {self._confidence(last[-1]):.3f}"

    def hopeless(self, asked: Asked, view: View) -> Hopeless:
        """Whether an answer that begins with tokens so probable stays below the threshold whatever follows."""
        return self._hopeless

    def _hopeless(self, probs: Sequence[float]) -> bool:
        if self.aggregate == "mean":  # at best the rest is certain, and as long as it may be
            return math.prod(probs) < self.threshold**self.most
        return self._of(probs) < self.threshold

    def _confidence(self, belief: Belief) -> float:
        if not belief.probs:
            return 0.0
        return belief.confidence() if self.aggregate == "mean" else self._of(belief.probs)

    def _of(self, probs: Sequence[float]) -> float:
        return min(probs) if self.aggregate == "min" else math.prod(probs)
