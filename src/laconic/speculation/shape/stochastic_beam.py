"""Whole paths drawn without replacement: a beam search over perturbed log-probabilities."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from laconic.policy import Card, Needs, knobs
from laconic.speculation.base import Context, Expand, Go, Grown, Judge, TreeShape
from laconic.speculation.shape.slots import Slots, SlotTree

_TINY = 1e-300
"""Path probabilities below this would make waiting times infinite, and their differences no number."""


@knobs
class StochasticBeam(TreeShape):
    """Keep the ``width`` best paths of each level, ranked by perturbed log-probabilities: drawn without replacement.

    Source: RSD-S, on the stochastic beam search of Kool et al. (2019). Said with arrival times in place of Gumbel
    numbers: every path of a length waits for a time of its own, exponential with the path's probability as rate, and
    the beam holds the first ``width`` to come. A path comes when the first of its continuations does, so the time of
    the parent is passed down and continuation y comes ``(w_y - min w) / path`` later, w the waits in the parent's row:
    the papers' Gumbels conditioned on their maximum, which exponentials, having no memory, make a difference.

    Below every node siblings stand in the order in which they came, which is that of draws without replacement; how
    many of them came in time tells how long the waits were, and that is independent of which tokens came. So
    recursive rejection (``speculative-sampling``) is exact. Greedy, under ``match``, with drafters that know no
    distribution, and for verifiers that want independent draws, it is the plain beam search over likeliest paths.
    """

    card = Card(
        paper="Recursive Speculative Decoding (RSD-S); Stochastic Beams and Where to Find Them",
        lossless=True,
        catalogue=(13,),
        arxiv="2402.14160",
    )
    needs = Needs(expand=True)

    width: Annotated[int, Field(ge=1)] = 4
    """Paths kept at each level."""
    depth: Annotated[int, Field(ge=1)] = 6
    """Levels at most, one draft pass each."""

    def grow(self, nodes: Grown, budget: int, context: Context, judge: Judge | None) -> Expand:
        """Add levels of ``width`` tokens up to ``budget``; ``judge`` is asked about each token of the beam."""
        # A path comes once: there is no such order for independent draws.
        tree = SlotTree(nodes, budget, context, judge, repeat=False)
        came = {-1: 0.0}  # when the path to each node of the newest level came; -log is its perturbed log-probability
        for _ in range(self.depth):
            if not (came and tree.room):
                break
            coming = []
            for node, row in zip(came, (yield [*came]), strict=True):
                slots = tree.open(node, row, self.width)
                coming += [(time, node) for time in _times(slots, tree.path[node], came[node])]
            came = {}
            stopped: set[int] = set()
            for time, parent in sorted(coming)[: min(self.width, tree.room)]:
                if parent in stopped:
                    continue
                go, node = tree.fill(parent)
                if go is Go.STOP:
                    stopped.add(parent)
                elif go is Go.ON:
                    came[node] = time
        return tree.grown()


def _times(slots: Slots, path: float, came: float) -> list[float]:
    """When the continuations of a path of probability ``path`` come, which came itself at ``came``.

    In order. Where nothing is drawn the likeliest come first.
    """
    if slots.probs is None:
        return [-path * share for _, share in slots.known]
    return [came + wait / max(path, _TINY) for wait in slots.waits]
