"""S-GRPO: one thought, left at several places; the first exit with the right answer gets the most."""

from __future__ import annotations

from random import Random
from typing import Annotated

from pydantic import Field

from laconic.errors import GroupError
from laconic.policy import Card, knobs
from laconic.training.base import Reward
from laconic.training.group import Group
from laconic.training.rewards.shared import rights, thoughts


@knobs
class SGRPO(Reward):
    """The i-th exit with the right answer gets ``2^-(i - 1)``, in the order of the thought's length; wrong ones get 0.

    Source: S-GRPO (serial-group decaying-reward policy optimization), as described in the paper. The group is no set of
    independent rollouts: one thought is written to its end and cut at ``exits`` places (:meth:`cuts`), at each of which
    it is closed and answered. Exits with equally long thoughts share a place. That the places are drawn evenly is this
    project's reading. Of the group only ``thought`` and ``right`` are read.
    Trap: rewards depend on how many earlier exits are right, not on how much earlier: between two cuts nothing counts.
    """

    card = Card(paper="S-GRPO", lossless=False, catalogue=(40,))
    reads = ("thought",)

    exits: Annotated[int, Field(ge=1)]
    """Places before the end at which the thought is left; the whole thought is answered besides."""

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        thought, right = thoughts(group), rights(group)
        exits = [length for length, ok in zip(thought, right, strict=True) if ok]
        earlier = [sum(other < length for other in exits) for length in thought]
        return [0.5**before if ok else 0.0 for before, ok in zip(earlier, right, strict=True)]

    def cuts(self, thought: int, random: Random) -> list[int]:
        """Lengths at which a thought is left, ascending, its whole length last; all there are in a short one."""
        if thought < 1:
            raise GroupError(f"a thought of {thought} tokens cannot be left early.")
        inner = range(1, thought)
        return [*sorted(random.sample(inner, min(self.exits, len(inner)))), thought]
