"""The best tree of fixed form, if a child's chance of acceptance depends on its rank alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from laconic.speculation.base import Verdict
from laconic.speculation.shape.plan import Plan


class Optimum:
    """Best plans for up to ``most`` nodes and ``depth`` levels, by dynamic programming.

    ``by_rank[r]`` is the chance that the child of rank r is accepted once its parent is: none before it was, it is.
    A plan is worth the expected number of its tokens that are accepted, the sum over nodes of the products of these
    chances along their paths. Source: Sequoia (positional acceptance, and its recursion over sizes).
    """

    def __init__(self, by_rank: Sequence[float], most: int, depth: int) -> None:
        self.by_rank = by_rank
        self.worth = np.zeros((depth + 1, most + 1))
        """``[depth, nodes]``: expected accepted tokens of the best plan of at most so many levels and nodes."""
        self._cut = np.zeros((depth + 1, len(by_rank) + 1, most + 1), dtype=np.int64)
        """``[depth, rank, nodes]``: how many of the nodes left at a rank go to its child, itself included."""
        at = np.arange(most + 1)
        rest = at[:, None] - at[None, :]  # nodes that are left for younger siblings, [nodes, given to this child]
        possible = (rest >= 0) & (at[None, :] > 0)
        for level in range(1, depth + 1):
            below = np.concatenate(([0.0], 1 + self.worth[level - 1, :-1]))  # a child with s nodes, itself included
            younger = np.zeros(most + 1)
            for rank in range(len(by_rank) - 1, -1, -1):
                total = np.where(possible, by_rank[rank] * below[None, :] + younger[np.maximum(rest, 0)], 0.0)
                self._cut[level, rank] = total.argmax(1)
                younger = total.max(1)
            self.worth[level] = younger

    def plan(self, nodes: int, depth: int) -> Plan:
        """The best plan of at most so many nodes and levels."""
        children: list[Plan] = []
        for rank in range(len(self.by_rank)):
            given = int(self._cut[depth, rank, nodes])
            if given == 0:
                break
            children.append(self.plan(given - 1, depth - 1))
            nodes -= given
        return tuple(children)


def acceptance_by_rank(verdicts: Iterable[Verdict], ranks: int) -> list[float]:
    """Share of the nodes with more than r children, among those the walk came to, whose child of rank r it took.

    For r from 0 to ``ranks - 1``; siblings rank in the order in which they were drafted. 0 where no node had so many.
    """
    seen, taken = [0] * ranks, [0] * ranks
    for verdict in verdicts:
        for node, child in zip([-1, *verdict.path], [*verdict.path, None], strict=True):
            siblings = [i for i, parent in enumerate(verdict.tree.parents) if parent == node]
            for rank, sibling in enumerate(siblings[:ranks]):
                seen[rank] += 1
                taken[rank] += sibling == child
    return [t / s if s else 0.0 for t, s in zip(taken, seen, strict=True)]
