"""How sure the model is of the answer that it would give after these steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from laconic.judges.base import Asking, ModelJudge, checked
from laconic.models.text import Message
from laconic.policy import Card, Needs, knobs
from laconic.thinking.base import Probe
from laconic.types import Question


@knobs
class Confidence(ModelJudge):
    """End the thought after these steps and ask for the answer: the geometric mean of its tokens' probabilities.

    laconic's own use of what DEER (Yang et al. 2025) stops thoughts by. Where no answer comes to its end it is 0.
    """

    reads_answers: ClassVar[bool] = False  # an answer that is there already would only be copied
    card = Card(paper="laconic's own; after DEER", lossless=False, arxiv="2504.15895")
    needs = Needs(probabilities=True)

    most: int = 24
    """Tokens of an answer at most."""


class _Confidence(Asking):
    def score(self, question: Sequence[Message], steps: Sequence[str]) -> float:
        """One probe behind the steps."""
        form, thought = self.engine.text.format, self.judge.shown(steps)
        begun = {"role": "assistant", "content": f"{form.opens}{form.lead}{thought}" if form.thinks else thought}
        probe = Probe("The answer is \\boxed", "}", max_tokens=self.judge.most, close=form.thinks)
        belief = self.engine.reading().answer(Question((*question, begun)), probe)
        return checked(self.judge.name, belief.confidence() if belief.complete else 0.0)


Confidence.asking = _Confidence
