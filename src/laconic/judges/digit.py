"""A model is asked for one digit, and what it would write is read off its logits."""

from __future__ import annotations

from collections.abc import Sequence

from laconic.judges.base import Asking, ModelJudge, asked_of, checked
from laconic.models.text import Message
from laconic.policy import Card, Needs, knobs
from laconic.types import Question

_DIGITS = "0123456789"
_ASK = (
    "Question:\n{question}\n\nReasoning so far:\n{steps}\n\n"
    "How good is this reasoning, its last step above all? Reply with one digit: 0 if it is wrong or leads nowhere, "
    "9 if it is right and leads to the answer."
)


@knobs
class Digit(ModelJudge):
    """Ask a model to rate the steps by a digit, and read the digit off the logits of its first token.

    Source: SpecReason (Pan et al. 2025), whose large model rates each step of the small one so, at the cost of reading
    the step: nothing is written. The score is the likeliest digit over 9, so that the authors' threshold of 7 is 0.78,
    or with ``mean`` the mean of all digits by their probabilities.
    """

    card = Card(paper="SpecReason", lossless=False, catalogue=(35,))
    needs = Needs(probabilities=True)

    mean: bool = False
    """Take the mean of all digits in place of the likeliest."""


class _Digit(Asking):
    def score(self, question: Sequence[Message], steps: Sequence[str]) -> float:
        """One reading of the steps."""
        said = _ASK.format(question=asked_of(question), steps=self.judge.shown(steps))
        # The last token: some tokenizers write a space of their own before a word.
        tokens = [self.engine.text.encode(digit)[-1] for digit in _DIGITS]
        asked = Question(({"role": "user", "content": said},), thinking=False)
        chances = self.engine.reading().token_chances(asked, tokens)
        if self.judge.mean:
            total = sum(chances)
            found = sum(digit * chance for digit, chance in enumerate(chances)) / total if total > 0 else float("nan")
        else:
            found = float(max(range(len(chances)), key=chances.__getitem__))
        return checked(self.judge.name, found / 9)


Digit.asking = _Digit
