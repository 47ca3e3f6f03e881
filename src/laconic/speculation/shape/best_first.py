"""A tree of the likeliest continuations."""

from __future__ import annotations

import heapq
from typing import Annotated

from pydantic import Field

from laconic.policy import Card, Needs, knobs
from laconic.speculation.base import Context, Expand, Go, Grown, Judge, Node, Row, TokenTree, TreeShape, hidden_of
from laconic.speculation.shape.levels import grow_levels


@knobs
class BestFirst(TreeShape):
    """Grow the node with the highest cumulative draft probability, wherever in the tree it hangs.

    Source: the best-first search of SpecExec and DySpec; EAGLE-2 ranks by the same product. A heap holds every
    token that might be added, keyed by the probability of its whole path; each round takes the ``per_pass`` best
    and has the drafter score them in one pass. With ``per_pass=1`` the tree holds exactly the ``budget`` likeliest
    paths; more nodes per pass mean fewer draft passes and a tree that is nearly that.

    With ``per_level`` it is EAGLE-2's tree (``best-first:per_level=10,top_k=10,depth=6``): the best of each level are
    expanded, ``depth`` levels in as many draft passes, and of all tokens seen the ``budget`` likeliest paths are kept.
    ``judge`` is then asked about those alone, so its answers save nodes and no draft passes.

    No token of the tree is drawn from the draft distribution (``draft_probs`` None), so it is exact at any
    temperature: the verifier draws the target's token and descends to it, as in SpecExec. Where the drafter knows the
    target's random numbers, children are ranked by the chance to be that very draw.
    """

    card = Card(paper="SpecExec; DySpec; EAGLE-2", lossless=True, catalogue=(114, 88), arxiv="2406.16858")
    needs = Needs(expand=True)

    top_k: Annotated[int, Field(ge=1)] = 4
    """Children considered below each node, tokens."""
    per_pass: Annotated[int, Field(ge=1)] = 4
    """Nodes added, and then scored by the drafter, per draft pass."""
    per_level: Annotated[int, Field(ge=0)] = 0
    """Nodes of each level that are expanded before all are ranked; 0: no levels, ``per_pass`` of the best at a time."""
    depth: Annotated[int, Field(ge=1)] = 6
    """Levels at most where ``per_level`` is given."""

    def grow(self, nodes: Grown, budget: int, context: Context, judge: Judge | None) -> Expand:
        """Add up to ``budget`` nodes; ``judge`` is asked about each when its turn comes."""
        if self.per_level:
            return (
                yield from grow_levels(
                    nodes,
                    budget,
                    context,
                    judge,
                    top_k=self.top_k,
                    per_level=self.per_level,
                    depth=self.depth,
                    gain=0.0,
                )
            )
        heap: list[tuple[float, int, int, int, float]] = []  # (-path probability, arrival, parent, token, probability)
        path = {-1: 1.0}
        rows: dict[int, Row] = {}
        arrivals = 0
        frontier = [-1]
        while frontier and len(nodes.tokens) < budget:
            for parent, row in zip(frontier, (yield frontier), strict=True):
                rows[parent] = row
                for token, probability in row.top(self.top_k):
                    heapq.heappush(heap, (-path[parent] * probability, arrivals, parent, token, probability))
                    arrivals += 1
            frontier = []
            while heap and len(frontier) < self.per_pass and len(nodes.tokens) < budget:
                score, _, parent, token, probability = heapq.heappop(heap)
                go = Go.ON
                if judge is not None:
                    row = rows[parent]
                    go = judge(Node(nodes.below(parent), row.probs, probability, path[parent], hidden_of(row)))
                if go is Go.STOP:
                    continue
                node = nodes.add(token, parent)
                path[node] = -score
                if go is Go.ON and token not in context.ends:
                    frontier.append(node)
        return TokenTree(nodes.tokens, nodes.parents)
