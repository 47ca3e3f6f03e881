"""The tree with the most tokens expected to be accepted, in as few draft passes as it has levels."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from laconic.policy import Card, Needs, knobs
from laconic.speculation.base import Context, Expand, Grown, Judge, TreeShape
from laconic.speculation.shape.levels import grow_levels


@knobs
class OptTree(TreeShape):
    """Grow whole levels, always holding the tree of ``budget`` nodes that the drafter expects most of; stop in time.

    Source: OPT-Tree (Wang et al. 2024). A tree's expected accepted tokens are the sum over its nodes of
    the draft probability of the path to each, so the best tree of ``budget`` nodes holds the
    likeliest paths. Level after level is expanded, all of it that may matter, until a level adds less than ``delta``
    tokens: another draft pass then costs more than it brings, if ``delta`` is the time of a draft pass in target
    passes. With ``delta=0`` it ends at the very tree of ``best-first:per_pass=1`` after as many draft passes as that
    has levels, in place of one for each node.

    No token is drawn (``draft_probs`` None), so it is exact at any temperature: the verifier draws the target's token
    and descends to it.
    """

    card = Card(
        paper="OPT-Tree: Speculative Decoding with Adaptive Draft Tree Structure", lossless=True, arxiv="2406.17276"
    )
    needs = Needs(expand=True)

    delta: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    """Expected tokens that a level must add for the next one to be grown; 0.5 as in the authors' runs."""
    depth: Annotated[int, Field(ge=1)] = 32
    """Levels at most, one draft pass each."""

    def grow(self, nodes: Grown, budget: int, context: Context, judge: Judge | None) -> Expand:
        """Keep the ``budget`` likeliest paths; ``judge`` is asked about these, the likeliest first."""
        return (
            yield from grow_levels(
                nodes, budget, context, judge, top_k=budget, per_level=budget, depth=self.depth, gain=self.delta
            )
        )
