"""Long x Short: one model writes the important thoughts, the other goes through the rest."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from laconic.collaboration.base import Collaboration, Thought, Turn
from laconic.policy import Card, Needs, knobs


@knobs
class LongShort(Collaboration):
    """The large model writes ``long`` steps, the small one the next ``short``, in turn.

    Source: Not All Thoughts are Generated Equal (Ning et al. 2025), whose two models were trained together by
    reinforcement to take turns, one for important thoughts and one for the rest. Nothing is trained here, so that who
    writes is fixed: what the method comes to with models as they are.
    """

    card = Card(paper="Not All Thoughts are Generated Equal (Long x Short)", lossless=False, catalogue=(49,))
    needs = Needs(thinking=True)

    long: Annotated[int, Field(ge=1)] = 1
    """Steps of the large model at a time."""
    short: Annotated[int, Field(ge=1)] = 2
    """Steps of the small one."""

    def turn(self, state: Any, thought: Thought) -> Turn:
        """By the number of steps that stand."""
        return Turn("large" if len(thought.pieces) % (self.long + self.short) < self.long else "small")
