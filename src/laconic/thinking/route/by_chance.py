"""Send a random share of questions to the easy mode."""

from __future__ import annotations

import hashlib
from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.thinking.base import Reader
from laconic.thinking.route.base import Choice, Mode, Router, quick
from laconic.types import Question


@knobs
class ByChance(Router):
    """A share of all questions, chosen at random, takes the easy mode.

    The control of every other router: one that sends as many questions to the easy mode and knows something about them
    must be right more often. The draw is a function of the question and the seed, so that it is the same again.
    """

    card = Card(paper="laconic's own", lossless=False)

    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Questions that take the easy mode."""
    easy: Mode = quick()
    """Controllers of the mode that these take."""
    hard: Mode = ()
    """Controllers of the mode that the others take."""
    seed: int = 0
    """Another seed chooses others."""

    def choose(self, question: Question, reader: Reader) -> Choice:
        """Draw a number in [0, 1)."""
        said = "\0".join([str(self.seed), *(message.get("content", "") for message in question.messages)])
        drawn = int.from_bytes(hashlib.blake2b(said.encode(), digest_size=8).digest(), "big") / 2**64
        return Choice("easy" if drawn < self.share else "hard", f"drew {drawn:.3f} against a share of {self.share:g}")
