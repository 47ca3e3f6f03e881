"""e1: a share of the usual length, asked for in the prompt."""

from __future__ import annotations

from laconic.errors import GroupError
from laconic.policy import Card, knobs
from laconic.training.base import Reward
from laconic.training.group import Group
from laconic.training.rewards.shared import mean, present, rights, thoughts


@knobs
class E1(Reward):
    """1 for a right rollout whose thought is at most ``effort`` times as long as usual for its prompt, else 0.

    Source: e1, Adaptive Effort Control, as described in the abstract; that the step is hard is this project's reading.
    ``effort`` is the group's, drawn at random and said in the prompt; what is usual is the group's ``reference``, a
    mean thought kept from groups that were asked for full effort, else the mean of this group, which then needs two or
    more.
    Trap: the mean of a group that was asked to be brief is itself short, and below an effort of 1 a lone mean drives
    lengths towards 0; keep a reference.
    """

    card = Card(paper="e1: Learning Adaptive Control of Reasoning Effort", lossless=False, catalogue=(103,))
    reads = ("thought", "effort")

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        effort, thought = present(group.effort, "effort", "group"), thoughts(group)
        if group.reference is None and len(group) < 2:
            raise GroupError("a group of one has no usual length.", "Set its reference, or sample more rollouts.")
        usual = mean(thought) if group.reference is None else group.reference
        return [float(right and length <= effort * usual) for right, length in zip(rights(group), thought, strict=True)]
