"""HAPO: shorter than what was ever right for this prompt."""

from __future__ import annotations

import math

from laconic.policy import Card, knobs
from laconic.training.base import Reward
from laconic.training.group import Group
from laconic.training.rewards.shared import right_lengths, rights


@knobs
class HAPO(Reward):
    """``right + f``, where ``f`` tells a rollout's length from the shortest right one ``h`` of all earlier groups.

    Source: HAPO, as described in the paper; the bounds are those of the authors' code. ``f = cos(pi / 2 * L / h)``
    below ``2 h``, else -1; a right rollout gets ``max(f, -0.7)``, a wrong one ``min(f, 0)``, so that short failures are
    not punished. ``h`` is the group's ``reference``, kept by :meth:`remember`; without one ``f`` is 0.
    Trap: ``h`` never grows again, so one lucky guess sets the measure for a prompt for good.
    """

    card = Card(paper="HAPO: History-Aware Policy Optimization", lossless=False, catalogue=(92,))
    reads = ("reference",)

    def rewards(self, group: Group) -> list[float]:
        """See the class."""
        shaped = [_shape(rollout.tokens, group.reference) for rollout in group.rollouts]
        return [1 + max(f, -0.7) if right else min(f, 0.0) for f, right in zip(shaped, rights(group), strict=True)]

    def remember(self, group: Group) -> float | None:
        """The shortest right length so far."""
        known = [*right_lengths(group), *([] if group.reference is None else [group.reference])]
        return min(known, default=None)


def _shape(length: int, shortest: float | None) -> float:
    if shortest is None:
        return 0.0
    return math.cos(math.pi / 2 * length / shortest) if length < 2 * shortest else -1.0
