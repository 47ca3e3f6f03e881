"""Stop thinking once the model is sure of its answer."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from laconic.policy import Card, Needs, knobs
from laconic.thinking.base import Action, Belief, Conclude, Continue, Controller, Probe, View
from laconic.types import Request

_LONGEST = 24
"""Tokens of an answer at most."""
_LAST_VALUE = re.compile(r"-?\d+(?:[./]\d+)?(?!.*\d)", re.DOTALL)


@dataclass(slots=True)
class _State:
    steps: int = 0
    sure: int = 0
    guess: str = ""


@knobs
class AnswerConfidence(Controller):
    """At the end of a step, ask what the answer would be now; stop when its probability is high enough.

    The probe closes the thought, opens the answer and follows the model's greedy continuation; the confidence is
    taken over the answer's tokens and the one that ends it (DEER, arXiv 2504.15895, which uses the geometric mean
    and a threshold of 0.95). As a branch of the verification pass a probe costs no pass of its own. It ends as soon as
    the tokens known so far rule the threshold out, which changes no decision.
    """

    card = Card(paper="Dynamic Early Exit in Reasoning Models (DEER)", arxiv="2504.15895", lossless=False)
    needs = Needs(thinking=True)

    threshold: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Stop when the confidence is at least this."""
    aggregate: Literal["mean", "product", "min"] = "mean"
    """Confidence of an answer from its tokens': geometric mean, product, or the least of them."""
    patience: Annotated[int, Field(ge=1)] = 1
    """Probes in a row that must be sure, and of the same answer."""
    every: Annotated[int, Field(ge=1)] = 1
    """Probe at every n-th end of a step."""
    text: str = "The answer is \\boxed{"
    """What opens the answer, after the closing tag."""
    stop: str = "}"
    """What ends it. A closing brace ends it when braces are balanced."""

    def start(self, request: Request) -> _State:
        """Nothing known yet."""
        return _State()

    def decide(self, state: _State, view: View) -> Action:
        """Probe at the end of a step, then compare the belief with the threshold."""
        if view.belief is not None:
            return self._judge(state, view.belief)
        if not view.boundary:
            return Continue()
        state.steps += 1
        if state.steps % self.every:
            return Continue()
        stated = _LAST_VALUE.search(view.steps[-1]) if view.steps else None
        guess = stated.group() if stated else state.guess
        return Probe(self.text, self.stop, guess=guess, max_tokens=_LONGEST, hopeless=self._hopeless)

    def _judge(self, state: _State, belief: Belief) -> Action:
        confidence = self._confidence(belief)
        sure = belief.complete and confidence >= self.threshold
        state.sure = (state.sure + 1 if belief.answer == state.guess or not state.sure else 1) if sure else 0
        if belief.complete:
            state.guess = belief.answer
        if state.sure < self.patience:
            return Continue()
        expected = f"{self.text}{belief.answer}{self.stop}"
        return Conclude(f"answer {belief.answer!r} has confidence {confidence:.3f}", expected=expected)

    def _hopeless(self, probs: Sequence[float]) -> bool:
        """Whether an answer that begins with tokens so probable stays below the threshold whatever follows."""
        if self.aggregate == "mean":  # at best the rest is certain, and as long as it may be
            return math.prod(probs) < self.threshold**_LONGEST
        return self._of(probs) < self.threshold

    def _confidence(self, belief: Belief) -> float:
        if not belief.probs:
            return 0.0
        return belief.confidence() if self.aggregate == "mean" else self._of(belief.probs)

    def _of(self, probs: Sequence[float]) -> float:
        return min(probs) if self.aggregate == "min" else math.prod(probs)
