"""Stop thinking once the model would call itself confident."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Annotated

from pydantic import Field

from laconic.models.text import Text
from laconic.policy import Card, knobs
from laconic.thinking.exit.probed import Asked, QuietExit
from laconic.types import Request


@knobs
class ConfidenceProbe(QuietExit):
    """At the end of a step, begin a sentence such as "So I'm" in a probe; stop when it would go on with "confident".

    The early stopping of ConCISE, which cuts traces for fine-tuning where a phrase put to the model shows it confident;
    here it is asked of the running thought. That the probability of a word after a phrase decides is taken from the
    paper; phrase, word and threshold are laconic's own choice, and need not be the paper's. The phrase must be one that
    the model could have written: the bundled model has none that tells, so this rule gains it nothing. One token is
    looked at, and nothing is closed or kept.
    """

    card = Card(
        paper="ConCISE: Confidence-guided Compression in Step-by-step Efficient Reasoning",
        arxiv="2505.04881",
        catalogue=(244,),
        lossless=False,
    )

    threshold: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Stop when the word is at least as probable."""
    patience: Annotated[int, Field(ge=1)] = 1
    """Looks in a row at which it must be."""
    _: KW_ONLY
    text: str = "So I'm"
    """The phrase that is begun."""
    word: Annotated[str, Field(min_length=1)] = "confident"
    """The word that it should go on with, a space before it; its first token counts."""

    def begun(self) -> str:
        """The phrase."""
        return self.text

    def start(self, request: Request, text: Text) -> Asked:
        """Look out for the word."""
        return Asked(next=self.tokens or None, watch=f" {self.word.strip()}")

    def settled(self, asked: Asked) -> str | None:
        """Compare the last looks with the threshold."""
        found = [look.belief.watched for look in asked.looks[-self.patience :]]
        if len(found) < self.patience or any(seen is None or seen.prob < self.threshold for seen in found):
            return None
        assert found[-1] is not None
        return f"after {self.text!r} the model says {self.word!r} with probability {found[-1].prob:.3g}"
