"""Let the model's own wish to think decide, by how likely its reply is to begin with a thought."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.thinking.base import Reader
from laconic.thinking.route.base import Choice, Mode, Router, quick
from laconic.types import Question


@knobs
class ByTrigger(Router):
    """Think where the first token of the reply is likely enough to open a thought.

    AdaCoT, Adaptive Deep Reasoning, EconProver and Hunyuan-TurboS train models to say by their first token whether they
    think: an opening tag, or a token of their own (``<long>``). Decoding takes that token as it falls; here its
    probability is compared with a threshold, so that one trained model gives a whole front of trigger rates, without
    training another. Models that were not trained so open every thought, or none, and are not told apart by this.

    Only the inference side is here: nothing is trained, so this is none of those papers' methods. Where the template
    itself opens the thought, name a token that tells (``trigger=``), since the opening tag can no longer be written.
    """

    card = Card(
        paper="AdaCoT: Pareto-Optimal Adaptive Chain-of-Thought Triggering via Reinforcement Learning",
        lossless=False,
    )

    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Least probability of the trigger that takes the hard mode."""
    easy: Mode = quick()
    """Controllers of the mode below the threshold."""
    hard: Mode = ()
    """Controllers of the mode from there on."""
    trigger: str = ""
    """What the reply begins with where the model wants to think, by its first token; empty is the opening tag."""

    def choose(self, question: Question, reader: Reader) -> Choice:
        """Read the first token's distribution with thinking allowed."""
        asked = replace(question, thinking=True)
        prob = reader.chances(asked, [self.trigger])[0] if self.trigger else reader.thought(asked)
        what = repr(self.trigger) if self.trigger else "a thought"
        return Choice(
            "hard" if prob >= self.threshold else "easy",
            f"the reply begins with {what} with probability {prob:.3f}",
        )
