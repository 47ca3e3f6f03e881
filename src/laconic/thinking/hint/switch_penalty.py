"""Make it harder to leave a line of thought soon after it began."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from laconic.models.text import Text
from laconic.policy import Card, Needs, knobs
from laconic.thinking.base import Action, Continue, Controller, LogitRule, Place, View
from laconic.thinking.hint.cues import Cues, Words, cues_of
from laconic.types import Request


@knobs
class SwitchPenalty(Controller):
    """Words that switch to another line of thought are less likely while the present one is young.

    ``alpha`` is taken off the logits of tokens that complete such a word, for ``beta`` tokens since the present line of
    thought began: since the last of these words, or since the thought itself (TIP, arXiv 2501.18585, which uses 3 and
    600; models whose whole thought is shorter are always under the penalty). The paper means to make
    thoughts deeper, not shorter; fewer abandoned lines are fewer tokens all the same.

    In a phrase it is the last word that is penalised, which does little where the words before it leave no choice:
    single words with which a switch begins work best.
    """

    card = Card(
        paper="Thoughts Are All Over the Place: On the Underthinking of o1-Like LLMs (TIP)",
        arxiv="2501.18585",
        lossless=False,
    )
    needs = Needs(thinking=True)

    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3.0
    """What is taken off the logits, nats."""
    beta: Annotated[int, Field(ge=1)] = 600
    """Tokens of a line of thought for which it is."""
    words: Words = ("alternatively", "another approach", "another way", "another method")
    """Words and phrases that switch, in any case: alternatively/another way."""

    def start(self, request: Request, text: Text) -> Cues:
        """Where the words are in the vocabulary. Raises RequestError if none is."""
        return cues_of(self, text, self.words)

    def rule(self, state: Cues) -> LogitRule:
        """Lower logits for tokens that complete one of the words, while the line of thought is young."""

        def rule(logits: torch.Tensor, place: Place) -> torch.Tensor | None:
            if place.phase != "thinking":
                return None
            switching = state.completing(place.tokens)
            # With at least beta thinking tokens written, the last beta tokens are all of the thought.
            young = place.thinking < self.beta or state.among(place.tokens, self.beta)
            if not switching or not young:
                return None
            changed = logits.clone()
            changed[list(switching)] -= self.alpha
            return changed

        return rule

    def decide(self, state: Cues, view: View) -> Action:
        """The rule does it all."""
        return Continue()
