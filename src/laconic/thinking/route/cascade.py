"""Answer without a thought first, and think where that answer is in doubt.

A cascade between two ways to use one model. Cascades to a larger *model* hand the request over, which is the business
of another layer and not of a thinking controller.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.thinking.base import Belief, Probe, Reader
from laconic.thinking.route.base import Choice, Mode, Router, quick
from laconic.types import Question

_LONGEST = 24


@knobs
class Cascade(Router):
    """Keep the answer given without a thought where the model is sure of it; else think.

    The quick answer is asked as a probe asks, at the end of the prompt with thinking off, and its confidence is the
    geometric mean of its tokens' probabilities (as in DEER), or their product or least. FrugalGPT's cascade keeps the
    cheap answer where a trained scorer trusts it; self-confidence is the scorer here, and the dear way is to think.

    If it is sure, the easy mode writes that answer again, with whatever belongs around it. An exit such as
    ``answer-confidence`` asks the same question again and again along the thought; a cascade asks before there is one.
    """

    card = Card(paper="FrugalGPT (cascade by self-confidence)", arxiv="2305.05176", lossless=False)

    threshold: Annotated[float, Field(ge=0, le=1)] = 0.95
    """Least confidence with which the quick answer is kept."""
    easy: Mode = quick()
    """Controllers of the mode where it is kept."""
    hard: Mode = ()
    """Controllers of the mode where it is not."""
    aggregate: Literal["mean", "product", "min"] = "mean"
    """Confidence of an answer from its tokens': geometric mean, product, or the least of them."""
    text: str = "The answer is \\boxed"
    """What opens the answer."""
    stop: str = "}"
    """What ends it. A closing brace ends it when braces are balanced."""

    def choose(self, question: Question, reader: Reader) -> Choice:
        """Ask for the quick answer."""
        belief = reader.answer(
            replace(question, thinking=False), Probe(self.text, self.stop, max_tokens=_LONGEST, close=False)
        )
        if not belief.complete:
            return Choice("hard", f"no answer came within {_LONGEST} tokens")
        sure = self._confidence(belief)
        mode = "easy" if sure >= self.threshold else "hard"
        return Choice(mode, f"without a thought the answer {belief.answer!r} has confidence {sure:.3f}")

    def _confidence(self, belief: Belief) -> float:
        if self.aggregate == "mean" or not belief.probs:
            return belief.confidence()
        return min(belief.probs) if self.aggregate == "min" else math.prod(belief.probs)
