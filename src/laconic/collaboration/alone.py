"""One of the two models alone: what collaboration is held against."""

from __future__ import annotations

from typing import Any, Literal

from laconic.collaboration.base import Collaboration, Side, Thought, Turn
from laconic.policy import Card, Needs, knobs


@knobs
class Alone(Collaboration):
    """One of the two writes the whole thought and the answer: the baselines of every collaboration."""

    card = Card(paper="laconic's own", lossless=False)
    needs = Needs(thinking=True)

    who: Literal["small", "large"] = "large"
    """Which of them."""

    def turn(self, state: Any, thought: Thought) -> Turn:
        """The whole thought."""
        return Turn(self.who, whole=True)

    @property
    def answers(self) -> Side:
        """The same."""
        return self.who
